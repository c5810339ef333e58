from tests.embed.conftest import run as run
from tests.embed.conftest import world as world
