-- The energy above idling in mJ: W x ms. NULL where no more power was taken than idling: such a
-- difference is no measurement (not_above_idle.sql says so).
CASE WHEN power_w > idle_w THEN (power_w - idle_w) * ms END
