-- The worst verdict on the thresholds composed from forced exits, and the largest error that has it.
-- An aggregate; NULL if nothing was compared.
arg_max(
    {
        'verdict': verdict,
        'error_pct': error_pct,
        'low_pct': low_pct,
        'high_pct': high_pct,
        'tolerance_pct': tolerance_pct
    },
    (list_position(['within', 'unclear', 'beyond'], verdict), abs(error_pct))
) FILTER (verdict IS NOT NULL)
