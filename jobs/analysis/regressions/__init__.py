"""Judging a night by the nights before it, and telling nobody before a suspect is measured again.

`steps, recurring, detector`: the statistics, numpy alone; `settings`: what counts as a regression;
`nights`: series out of a results root; `timing`: a series judged; `answers`: accuracy, exactly;
`again`: measuring suspects again; `judge`: one night's verdict and its rows; `view`: what is shown.
"""
