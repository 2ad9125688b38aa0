"""Which per-exit thresholds are best under constraints, and how surely they hold elsewhere.

    answers = ExitAnswers(gate_scores, is_correct, exit_blocks, costs, "blocks")  # answers
    constraints = Constraints(max_drop=0.5)                                       # constraints
    choice = search(answers, constraints)                                         # search
    made = guarantee(answers, constraints, confidence=0.9)                        # guarantee

Arrays in, dataclasses out: nothing here reads files, asks a database or knows a command line.
"""
