"""Training of the three stages: baseline, distillation, exits. Tensors in, a trained model out.

    data = hold_out(samples, HoldOut(fraction=0.15, seed=0))     # gfnet.training.data
    outcome = train_baseline(model, data=data, ...)              # gfnet.training.baseline
    outcome = train_student(student, teacher, data=data, ...)    # gfnet.training.distillation
    outcome = train_exits(model, data=data, ...)                 # gfnet.training.exits

Nothing here knows of a test split: whoever calls hands over the training split alone. On a CPU
the same seed, data and thread count give the same weights, to the last bit. `settings` needs no
torch, so that a recipe can be checked without it.
"""
