"""`gfjobs judge`: one night compared with the nights before it; suspects are measured again.

`settings`: what counts as a regression; `history`: series from a results root; `detector`: whether
a night differs; `latency` and `accuracy`: a series judged; `remeasure`: suspects measured again
before anybody is notified; `judge`: one night's verdict and its rows; `view`: what is shown.
"""
