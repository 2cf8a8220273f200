"""The YAML as one typed model, with `file:line:column  path  what  todo` for every problem at once."""

from sbiwb.config.benchmark_document import BenchmarkConfig
from sbiwb.config.loading import dump, load, load_benchmark, schema
from sbiwb.config.model import RunConfig

__all__ = ["BenchmarkConfig", "RunConfig", "dump", "load", "load_benchmark", "schema"]
