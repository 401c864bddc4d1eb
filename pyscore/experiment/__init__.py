"""The paper's experiment: grids of stacks of models, trained, measured and written to a folder of Parquet files.

`grid` says what is to be run, `runs` trains and measures one stack, `measures` and `classifier` are what is
measured, `store` is the folder, `schedule` runs many stacks, here or on a Dask cluster.
"""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
