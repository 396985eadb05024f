"""How values are kept between scrapes: plain sums under bounded label values.

Our own rather than `prometheus_client`'s metric objects, for three reasons: a commit adds sums, not single observations;
`_created` series would double what Prometheus stores; and label values must be bounded by us. Nothing here locks:
`Telemetry` holds one lock around each batch and each scrape.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import isfinite

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, UnknownMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar, Sample

from collector.telemetry.catalogue import Kind, Metric

OTHER = "other"
"""What a label says once it may take no new value."""
UNKNOWN = "unknown"
"""What a label says where the telemetry says nothing."""

MAX_LABEL_CHARACTERS = 120
_MAX_EXEMPLAR_CHARACTERS = 64

Labels = tuple[str, ...]


def clean(value: str | None) -> str:
    r"""A label value as it may be exposed: never empty, of bounded length, valid Unicode, on one line.

    Examples
    --------
    >>> clean("a\nb"), clean(None), clean("\ud800")
    ('a b', 'unknown', '?')
    """
    if not value:
        return UNKNOWN
    text = value[:MAX_LABEL_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return " ".join(text.split()) if not text.isprintable() else text


class SeriesBudget:
    """How many series may come into being in all. Each new label value takes, beforehand, all that it may ever cause."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, series: int) -> bool:
        """Reserves `series`, or leaves everything as it was and returns False."""
        if self.taken + series > self.limit:
            return False
        self.taken += series
        return True


class BoundedLabel:
    """The values one label may take: those known beforehand and the first others seen, up to `limit`; then `other`.

    Values keep their place until the restart, so that a counter never moves from one series to another. `weight` is
    how many series one value may cause. A value admitted `within` another (a tool of an agent type) is a place of its own.
    """

    def __init__(self, name: str, *, limit: int, weight: int, budget: SeriesBudget, known: Iterable[str] = ()) -> None:
        self.name = name
        self.overflowed = 0
        """How often a value had to be counted as `other`."""
        self._limit = limit
        self._weight = weight
        self._budget = budget
        self._admitted: dict[tuple[str, str], str] = {}
        self._places: set[tuple[str, str]] = set()
        for value in known:
            self.admit(value)

    def admit(self, value: str | None, within: str = "") -> str:
        """The label value to use for `value`: itself, cleaned, or `other`."""
        # Raw values are looked up first: cleaning costs more than all the rest, and most values were seen before.
        known = self._admitted.get((within, value or ""))
        if known is not None:
            return known
        cleaned = clean(value)
        place = (within, cleaned)
        if place not in self._places:
            if cleaned == OTHER or len(self._places) >= self._limit or not self._budget.take(self._weight):
                self.overflowed += cleaned != OTHER
                return OTHER
            self._places.add(place)
        if len(self._admitted) < 4 * self._limit:  # several raw spellings may clean to one value
            self._admitted[within, value or ""] = cleaned
        return cleaned

    def __len__(self) -> int:
        return len(self._places)


class Sums:
    """The values of one counter or gauge family."""

    __slots__ = ("exemplars", "metric", "values")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: dict[Labels, float] = {}
        self.exemplars: dict[Labels, Exemplar] = {}

    def start(self, *labels: str) -> None:
        """Makes the series exist, at zero if it did not."""
        self.values.setdefault(labels, 0.0)

    def add(self, amount: float, *labels: str, trace_id: str = "") -> None:
        """Adds to a series; one that goes up may carry the trace it went up for."""
        self.values[labels] = self.values.get(labels, 0.0) + amount
        if trace_id:
            self.exemplars[labels] = _exemplar(trace_id, amount)

    def set(self, value: float, *labels: str) -> None:
        """Sets a series."""
        self.values[labels] = value

    def family(self) -> Family:
        """As Prometheus' client wants it. Changes nothing."""
        metric = self.metric
        if metric.kind is Kind.COUNTER:
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in self.values.items():
                counter.add_metric(labels, value, exemplar=self.exemplars.get(labels))
            return counter
        make = UnknownMetricFamily if metric.kind is Kind.UNTYPED_COUNTER else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=metric.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class _Distribution:
    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}


class Histogram:
    """The observations of one histogram family, taken in by the batch."""

    __slots__ = ("_bounds", "_series", "_texts", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._bounds = metric.buckets
        self._texts = [*(str(bound) for bound in metric.buckets), "+Inf"]
        self._series: dict[Labels, _Distribution] = {}

    def start(self, *labels: str) -> _Distribution:
        """Makes the series exist, empty if it did not."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Distribution(len(self._texts))
        return series

    def observe_many(self, values: Sequence[float], *labels: str, exemplar: tuple[float, str] | None = None) -> None:
        """Takes in observations; those that are no finite number are left out.

        `exemplar` is one of the values with its trace id; its bucket shows it.
        """
        series = self.start(*labels)
        if not values:
            return
        counts, bounds, total = series.counts, self._bounds, 0.0
        for value in values:
            if isfinite(value):
                counts[bisect_left(bounds, value)] += 1
                total += value
        series.total += total
        if exemplar is not None and exemplar[1] and isfinite(exemplar[0]):
            series.exemplars[bisect_left(bounds, exemplar[0])] = _exemplar(exemplar[1], exemplar[0])

    def family(self) -> Family:
        """As Prometheus' client wants it. Changes nothing."""
        metric = self.metric
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, series in self._series.items():
            at = dict(zip(metric.labels, labels, strict=True))
            below = 0
            for index, text in enumerate(self._texts):
                below += series.counts[index]
                bucket = Sample(f"{metric.name}_bucket", at | {"le": text}, below, None, series.exemplars.get(index))
                family.samples.append(bucket)
            family.samples.append(Sample(f"{metric.name}_count", at, below))
            family.samples.append(Sample(f"{metric.name}_sum", at, series.total))
        return family


def _exemplar(trace_id: str, value: float) -> Exemplar:
    # OpenMetrics allows 128 characters for an exemplar's labels; a scraper drops the whole scrape beyond that.
    return Exemplar({"trace_id": clean(trace_id)[:_MAX_EXEMPLAR_CHARACTERS]}, value)
