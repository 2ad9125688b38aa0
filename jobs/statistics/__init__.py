"""Bootstrap, McNemar, Holm, log ratio, Student t, change points, betting; numpy alone."""
