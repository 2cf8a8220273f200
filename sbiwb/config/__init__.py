"""The YAML as one typed model, with `file:line:column  path  what  todo` for every problem at once."""

from sbiwb.config.loading import dump, load, schema
from sbiwb.config.model import RunConfig

__all__ = ["RunConfig", "dump", "load", "schema"]
