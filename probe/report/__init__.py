"""Tables, figures and pages of what runs have measured.

Everything is made of finished runs; nothing is fitted here. Names are loaded on use: only figures and the report load
matplotlib.

    from probe.report import build_table, show
    show(build_table(inventory), printer())
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
