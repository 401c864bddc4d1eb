"""The paper's experiment: grids of stacks of models, trained, measured and written to a folder of Parquet files.

`grid` lists what to run, `runs` trains and measures one stack, `measures` and `classifier` compute the measures,
`store` manages the folder, and `schedule` and `cluster` run many stacks, in this process or on a Dask cluster.
"""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(__name__)
