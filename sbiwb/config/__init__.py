"""The YAML as one typed model; every problem at once, as `file:line:column  path  what  todo`."""

from sbiwb.config.benchmark_document import BenchmarkConfig
from sbiwb.config.loading import dump, load, load_benchmark, schema
from sbiwb.config.model import RunConfig

__all__ = ["BenchmarkConfig", "RunConfig", "dump", "load", "load_benchmark", "schema"]
