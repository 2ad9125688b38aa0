-- What a composed_check says against composing a mean of its parts; NULL: nothing.
CASE
    WHEN NOT checked.are_within THEN format(
        'composed of {}, a routed mean {} is missed by {:+.1f} %, more than {:.0f} %',
        parts, whole, checked.worst_pct, checked.tolerance_pct)
    WHEN checked.are_within IS NULL AND len(exits) > 1
        THEN format('no routed threshold confirms the {}', parts)
END
