"""The shared model core: Global Filter Networks, tensors in, tensors out.

    model = gfnet.create("gfnet-xs-distil-dynn", num_classes=10)
    model(images)                    # (B, K) logits at full depth
    model.forward_exits(images)      # every exit, one pass
    model.route(images, 0.5)         # each image up to the exit that it takes

The names are listed in `__init__.pyi` and loaded on first use (PEP 562), so that planning a grid
and `gfjobs --help` do not load torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
