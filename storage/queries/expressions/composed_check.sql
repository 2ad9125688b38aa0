-- Whether all thresholds that were composed of forced exits came within their tolerance, and the
-- worst of them. An aggregate.
{
    'are_within': bool_and(is_within),
    'worst_pct': arg_max(error_pct, abs(error_pct)),
    'tolerance_pct': any_value(tolerance_pct)
}
