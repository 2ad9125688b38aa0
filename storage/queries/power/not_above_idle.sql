-- Why above_idle_mj is NULL although both powers are known. Three decimals if one does not tell
-- them apart.
CASE WHEN power_w <= idle_w THEN format(
    'power while running was not above idle: ' || CASE
        WHEN power_w < idle_w AND round(power_w, 1) = round(idle_w, 1)
            THEN '{:.3f} W against {:.3f} W'
        ELSE '{:.1f} W against {:.1f} W' END,
    power_w, idle_w) END
