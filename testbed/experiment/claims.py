"""What a paper reports about an experiment: numbers, and the shape of its curves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from testbed.units import refuse

METRIC = (
    "Column of `summary.csv`, for all functions together; or `DATASET[COLUMN=TEXT].COLUMN.STATISTIC` of any dataset of "
    "the run, such as `so_moves[target=p1].duration_s.p50` (the condition may be left out; mean, p50, p90, max, sum, "
    "count; `mean/user` is the mean of each user's mean); or `byte_km` or `byte_km_rate`, see `lengths`."
)


def _not_zero(value: float) -> float:
    if value == 0:
        raise refuse("a number other than 0, since its tolerance is relative to it")
    return value


Reported = Annotated[float, AfterValidator(_not_zero)]
Metric = Annotated[str, Field(description=METRIC)]
At = Annotated[dict[str, Any], Field(description="A point of the sweep, such as `{loss: 3%}`.")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedValue(_Part):
    """One number that a paper reports, beside which the measured one is put."""

    name: str = Field(description="What it is, in the words of the paper.")
    metric: Metric
    value: Reported = Field(description="The published value, in the unit of the column.")
    tolerance: float = Field(
        description="Largest relative difference that still counts as reproduced: 0.05 is 5 %.", gt=0
    )
    at: dict[str, Any] = Field({}, description="In a sweep: the point it belongs to, such as `{loss: 3%}`.")
    of_seeds: Literal["mean", "median", "min", "max"] = Field(
        "mean", description="What is taken of the runs at that point that differ in their seed only."
    )


class Jump(_Part):
    """A claim about the shape of a curve: the metric jumps between two neighbouring points of the sweep."""

    metric: Metric
    between: tuple[Any, Any] = Field(description="The two swept values between which it jumps.")
    factor: float = Field(
        description="The metric grows at least by this factor there, and by less at every earlier step."
    )


class Rise(_Part):
    """A claim about the slope of a curve: by how much the metric grows between two points."""

    name: str = Field(description="What it is, in the words of the paper.")
    metric: Metric
    between: tuple[At, At] = Field(description="The two points.")
    value: Reported = Field(description="The published growth, in the unit of the column.")
    tolerance: float = Field(description="Largest relative difference that still counts as reproduced.", gt=0)


class Crossing(_Part):
    """A claim about two curves: where they cross."""

    name: str = Field(description="What it is, in the words of the paper.")
    metric: Metric
    over: str = Field(description="The swept path (or its last part) along which they run: numbers or amounts.")
    between: tuple[At, At] = Field(description="What the points of one curve have in common, and those of the other.")
    value: Reported = Field(description="Where the paper has them cross.")
    tolerance: float = Field(description="Largest relative difference that still counts as reproduced.", gt=0)


class Order(_Part):
    """A claim about several points: at each, the metric is larger than at the one before."""

    name: str = Field(description="What it is, in the words of the paper.")
    metric: Metric
    rising: tuple[At, ...] = Field(description="The points, that with the smallest value first.", min_length=2)
    factor: float = Field(1.0, description="Each value is more than so many times the one before.", gt=0)


class Published(_Part):
    """What a paper reports about this experiment."""

    source: str = Field(description="The paper, and the experiment or figure in it.")
    values: list[PublishedValue] = Field([], description="Published numbers.")
    jumps: list[Jump] = Field([], description="Published jumps of a curve.")
    rises: list[Rise] = Field([], description="Published slopes of a curve.")
    crossings: list[Crossing] = Field([], description="Published points where two curves cross.")
    orders: list[Order] = Field([], description="Which of several points has the larger value.")
    lengths: dict[str, float] = Field(
        {},
        description="Link, or pattern (`edge*`) -> its length in km, for the metric `byte_km`: the bytes that crossed "
        "each link while the workload ran, times its length, summed, for each good answer. `byte_km_rate` is the same "
        "for each second. A link that several name has the length of the first.",
    )

    @property
    def metrics(self) -> list[str]:
        """All that is claimed something of, each once, in the order of the file."""
        claims: list[PublishedValue | Jump | Rise | Crossing | Order] = [
            *self.values, *self.jumps, *self.rises, *self.crossings, *self.orders,
        ]  # fmt: skip
        return list(dict.fromkeys(claim.metric for claim in claims))
