-- The caveat of a composed_check about composing a mean from its parts; NULL if there is none.
CASE
    WHEN checked.verdict = 'beyond' THEN format(
        'composed of {}, a routed mean {} is missed by {:+.1f} %, more than {:.0f} %',
        parts, whole, checked.error_pct, checked.tolerance_pct)
        || coalesce(format(' (95 %: {:+.1f} to {:+.1f} %)', checked.low_pct, checked.high_pct), '')
    WHEN checked.verdict = 'unclear' THEN format(
        'composed of {}, a routed mean {} is off by {:+.1f} % ({}): not shown to be within {:.0f} %',
        parts, whole, checked.error_pct,
        coalesce(format('95 %: {:+.1f} to {:+.1f} %', checked.low_pct, checked.high_pct),
            'no interval: it needs two rounds'),
        checked.tolerance_pct)
    WHEN checked.verdict IS NULL AND len(exits) > 1
        THEN format('no routed threshold confirms the {}', parts)
END
