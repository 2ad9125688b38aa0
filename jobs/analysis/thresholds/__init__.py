"""`gfjobs choose`: the best thresholds per exit under constraints, and how reliably they hold.

    answers = ExitAnswers(gate_scores, is_correct, exit_blocks, costs, "blocks")  # exit_answers
    constraints = Constraints(max_drop=0.5)                                       # constraints
    choice = search(answers, constraints)                                         # search
    made = guarantee(answers, constraints, confidence=0.9)                        # guarantee

All but `choose` and `view` take arrays and return dataclasses; they read no files and no database.
"""
