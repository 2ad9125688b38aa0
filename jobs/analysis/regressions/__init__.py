"""`gfjobs judge`: compares one night with the nights before it, and measures suspects again.

`settings`: what counts as a regression; `history`: series from a results root; `detector`: whether
a night differs; `latency` and `accuracy`: judge a series; `remeasure`: measures suspects again
before any notification; `judge`: one night's verdict and its rows; `view`: the verdict as text.
"""
