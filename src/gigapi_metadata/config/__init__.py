"""GigAPI's configuration: environment variables, and a YAML, TOML or JSON file with the same keys.

`load` reads both and says where each value came from. Nothing is read when this is imported, and no
store is touched. docs/configuration.md lists every setting.
"""

from gigapi_metadata.config.layers import parse_layer
from gigapi_metadata.config.loading import load
from gigapi_metadata.config.settings import Setting, Settings
from gigapi_metadata.config.values import format_duration, parse_duration, parse_size

__all__ = [
    "Setting",
    "Settings",
    "format_duration",
    "load",
    "parse_duration",
    "parse_layer",
    "parse_size",
]
