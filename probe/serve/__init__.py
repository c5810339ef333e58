"""A local web application over an index: a page, a JSON API, and nothing that an upload or a request could break.

    serve(Index.open("photos.index"), host="127.0.0.1", port=8000, token=None, limits=Limits())

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
