"""Training in three stages: baseline, distillation, exits. Tensors in, a trained model out.

    data = hold_out(samples, HoldOut(fraction=0.15, seed=0))     # gfnet.training.data
    learner = WholeModel(model, label_loss(model, 0.1), ...)     # whole, baseline, distillation
    learner = ExitStage(model, training=ExitTraining(...), ...)  # exit_stage, exits, rules
    for event in learn(learner, data=data, ...): ...             # loop: reports, states, weights

Nothing here uses a test split: the caller passes only the training split. On a CPU, the same seed,
data, precision and thread count give the same weights, to the last bit. `settings` needs no torch,
so that a recipe can be checked without it.
"""
