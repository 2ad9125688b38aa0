-- The caveat of a composed_check about composing a mean from its parts; NULL if there is none.
CASE
    WHEN NOT checked.are_within THEN format(
        'composed of {}, a routed mean {} is missed by {:+.1f} %, more than {:.0f} %',
        parts, whole, checked.worst_pct, checked.tolerance_pct)
    WHEN checked.are_within IS NULL AND len(exits) > 1
        THEN format('no routed threshold confirms the {}', parts)
END
