-- Whether all thresholds composed from forced exits came within their tolerance, and the worst
-- error. An aggregate.
{
    'are_within': bool_and(is_within),
    'worst_pct': arg_max(error_pct, abs(error_pct)),
    'tolerance_pct': any_value(tolerance_pct)
}
