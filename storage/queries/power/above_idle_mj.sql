-- The energy above idle in mJ: W x ms. NULL if the power was not above idle: such a difference is
-- no measurement (not_above_idle.sql gives the reason).
CASE WHEN power_w > idle_w THEN (power_w - idle_w) * ms END
