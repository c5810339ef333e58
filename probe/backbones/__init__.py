"""Frozen encoders: a catalogue of rows, and one adapter for each library.

    backbone = find_backbone("siglip-so400m-14-384")
    encoder = load_encoder(backbone, torch.device("cpu"))      # encoder.prepare(file), encoder(batch) -> (B, D)

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
