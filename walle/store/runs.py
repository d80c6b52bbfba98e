"""``store.runs``, generated from `walle.repositories.runs.RunRepository`: see `walle.generate`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import overload

import polars as pl

from walle.fills import WriteReport
from walle.options import Floats, LotMethod, OnInvalid, Returns
from walle.records import BacktestResult, Run
from walle.repositories.common import Time
from walle.repositories.runs.repository import LEASE, RunRepository
from walle.runs import Results, RunReport
from walle.store.part import Part

__all__ = ["Runs"]


class Runs(Part[RunRepository]):
    """The runs of a store.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "runs"

    @overload
    def save(self, run: Run) -> Run: ...

    @overload
    def save(self, run: Iterable[Run] | pl.DataFrame) -> WriteReport: ...

    @overload
    def save(self, run: Run | Iterable[Run] | pl.DataFrame) -> Run | WriteReport: ...

    def save(self, run: Run | Iterable[Run] | pl.DataFrame) -> Run | WriteReport:
        """Store a run, or several: insert a new one, or update the one it was read from; all of the call or nothing.

        A run that becomes ``running`` is owned by this process from then on.

        Parameters
        ----------
        run : Run, iterable of Run, or a Polars, pandas or Arrow frame
            New (``revision`` 0), or a record of this store changed by :func:`dataclasses.replace`. A frame has columns
            of :data:`walle.frames.RUNS`: id, strategy_id and mode, and any of the others. Of several, one that is
            stored with the same content is left as it is, whatever its revision.

        Returns
        -------
        Run or WriteReport
            One run as it is read from now on, with its new revision: go on with this one. Without symbols or timeframe
            of its own it has those in its config, see ``store.runs.read``. Of several, how many were inserted, updated
            and there already.

        Raises
        ------
        LostUpdate
            When somebody saved the run since it was read, or a new one's id is taken.
        IllegalTransition
            When the status cannot follow the stored one.
        Conflict
            When a run is to be ``lost`` that gave a sign of life since it was read.
        InputError
            For anything but runs.

        Examples
        --------
        >>> run = walle.Run(id="bt-sma-eth-004", strategy_id="sma-crossover", mode="backtest", symbols=["ETH/USD"])
        >>> store.runs.save(run).revision
        1
        """
        return self._call("save", lambda core: core.save(run))

    def ingest(
        self,
        run: Run | Results,
        orders: object = None,
        fills: object = None,
        *,
        timezone: str | None = None,
        floats: Floats = "refuse",
        on_invalid: OnInvalid = "raise",
    ) -> RunReport:
        """Bring in a run with its orders and fills, in one transaction: all of the call or nothing.

        The same again changes nothing.

        Parameters
        ----------
        run : Run or Results
            Results have their own orders and fills; see :func:`walle.from_backtesting`.
        orders, fills : records or frames, optional
            As for :meth:`OrderRepository.ingest` and :meth:`FillRepository.ingest`; of this run.
        timezone, floats, on_invalid : str
            As for those.

        Returns
        -------
        RunReport

        Raises
        ------
        Conflict
            When another run of that id is stored; ``created_at`` may differ.
        InvalidRows
            When rows are no orders or fills; nothing was written.
        InputError
            For a source that cannot be read.

        Examples
        --------
        >>> run = walle.Run(id="bt-ema-eth-002", strategy_id="ema-crossover", mode="backtest", status="completed")
        >>> fill = {"id": "ema-1", "order_id": "ema-order-1", "side": "buy", "price": "3057.89", "quantity": "0.5"}
        >>> report = store.runs.ingest(run, fills=pl.DataFrame([fill | {"filled_at": run.created_at}]))
        >>> report.inserted, report.fills.inserted
        (True, 1)
        """
        return self._call(
            "ingest",
            lambda core: core.ingest(run, orders, fills, timezone=timezone, floats=floats, on_invalid=on_invalid),
        )

    def heartbeat(self, run_id: str) -> None:
        """Say that this process still runs a run; its revision stays.

        Raises
        ------
        UnknownRun
            When it is not stored.
        IllegalTransition
            When it is not running.
        Conflict
            When another process runs it that lives, or on another host gave a sign of life within the lease.

        Examples
        --------
        >>> run = walle.Run(id="paper-sma-sol-004", strategy_id="sma-crossover", mode="paper", status="running")
        >>> run = store.runs.save(run)
        >>> store.runs.heartbeat(run.id)  # every minute or so, while it runs
        """
        self._call("heartbeat", lambda core: core.heartbeat(run_id))

    def recover(self, lease: timedelta = LEASE) -> builtins.list[Run]:
        """Return runs that are stored as running and whose process is gone; nothing is changed.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead when its last heartbeat is older.

        Returns
        -------
        list of Run
            Running, with an owner that is dead on this host, or silent for ``lease`` on another, or without an owner.
            Never one that is alive. Save each with the status ``running`` again (it is ``lost`` before), or an end.

        Examples
        --------
        >>> [run.id for run in store.runs.recover()]
        ['paper-sma-btc-003']
        """
        return self._call("recover", lambda core: core.recover(lease))

    def sweep(self, lease: timedelta = LEASE) -> builtins.list[Run]:
        """Mark as ``lost`` every run that is stored as running and whose process is gone.

        An engine calls this when it starts, before it starts runs of its own; opening a store never does. Each run is
        looked at again under the lock that a heartbeat takes, so one that gave a sign of life meanwhile stays running.
        With each goes one event ``run.Lost`` into the log, in the same transaction: its payload names the strategy, the
        mode, the owner, the last heartbeat and the lease. ``stopped_at`` stays empty, because nobody knows when it
        stopped, and the run may be taken up again.

        Parameters
        ----------
        lease : timedelta
            A run on another host counts as dead when its last heartbeat is older.

        Returns
        -------
        list of Run
            Those that it marked, as they are stored now; sorted by id. Empty when there was none.

        Raises
        ------
        InputError
            For a lease that is no positive timedelta.

        Examples
        --------
        >>> [(run.id, run.status.value) for run in store.runs.sweep()]
        [('paper-sma-btc-003', 'lost')]
        """
        return self._call("sweep", lambda core: core.sweep(lease))

    def save_result(self, result: BacktestResult) -> BacktestResult:
        """Store what an engine reports of a backtest; see :meth:`BacktestResultRepository.save`.

        Raises
        ------
        Conflict
            When another result of that run is stored.
        InputError
            For anything but a :class:`walle.BacktestResult`.

        Examples
        --------
        >>> run, equity = store.runs.get("bt-sma-eth-001"), store.runs.equity("bt-sma-eth-001")["equity"][-1]
        >>> span = {"start_time": run.started_at, "end_time": run.stopped_at, "timeframe": "1m", "symbols": run.symbols}
        >>> result = walle.BacktestResult(run_id=run.id, final_equity=equity, **span)
        >>> store.runs.save_result(result).final_equity
        Decimal('50702.035558')
        """
        return self._call("save_result", lambda core: core.save_result(result))

    def result(self, run_id: str) -> BacktestResult | None:
        """Return what the engine reported of a backtest, or None when it reported nothing.

        Examples
        --------
        >>> store.runs.result("bt-sma-eth-001") is None  # until save_result() stores one
        True
        """
        return self._call("result", lambda core: core.result(run_id))

    def results(self) -> pl.DataFrame:
        """Read what engines reported of their backtests.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.BACKTEST_RESULTS`; one row per run that has a result, sorted by run_id.

        Examples
        --------
        >>> run = store.runs.get("bt-sma-eth-001")
        >>> span = {"start_time": run.started_at, "end_time": run.stopped_at, "timeframe": "1m", "symbols": run.symbols}
        >>> result = store.runs.save_result(walle.BacktestResult(run_id=run.id, final_equity=50_702, **span))
        >>> store.runs.results()["run_id"].to_list()
        ['bt-sma-eth-001']
        """
        return self._call("results", lambda core: core.results())

    def get(self, run_id: str) -> Run:
        """Return one run.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.

        Examples
        --------
        >>> store.runs.get("bt-sma-eth-001").symbols
        ('ETH/USD',)
        """
        return self._call("get", lambda core: core.get(run_id))

    def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
    ) -> builtins.list[Run]:
        """Return runs as records; arguments and order as in :meth:`read`.

        Raises
        ------
        InputError

        Examples
        --------
        >>> [run.id for run in store.runs.list(mode="paper")]
        ['paper-sma-stocks-002', 'paper-sma-btc-003']
        """
        return self._call(
            "list", lambda core: core.list(status=status, mode=mode, strategy_id=strategy_id, start=start, end=end)
        )

    def read(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        """Read runs as a frame: each with how long it took, and how many orders and fills it has.

        Parameters
        ----------
        status, mode : str or iterable of str, optional
        strategy_id : str, optional
        start, end : datetime, date, str or None
            Created in ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.RUN_SUMMARY`: those of :data:`walle.frames.RUNS`, then duration (Duration in
            microseconds, ``stopped_at - started_at``; null until it stopped), orders and fills (Int64, never null). One
            row per run, sorted by created_at, then id. A fill that was written without a run counts for its order's.
            Where a run was stored without symbols or timeframe, those in its config stand, which is where the trading
            engine keeps them (:mod:`walle.backend` has the rule); ``config`` is as it was written.

        Raises
        ------
        InputError
            For an unknown status or mode, or a bad range.

        Examples
        --------
        >>> store.runs.read(status="completed").select("id", "orders", "fills").row(0)
        ('bt-sma-eth-001', 109, 193)
        """
        return self._call(
            "read", lambda core: core.read(status=status, mode=mode, strategy_id=strategy_id, start=start, end=end)
        )

    def history(self, run_id: str) -> pl.DataFrame:
        """Read the life of a run: its own moments, its orders', its fills' and its events', in the order of time.

        Parameters
        ----------
        run_id : str

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.HISTORY`; see :func:`walle.runs.history`. Events are those that name the run.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of it; near ids are offered.

        Examples
        --------
        >>> store.runs.history("paper-sma-btc-003")["what"].head(4).to_list()
        ['created', 'run.Created', 'started', 'run.Started']
        """
        return self._call("history", lambda core: core.history(run_id))

    def equity(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
    ) -> pl.DataFrame:
        """Mark a run to the market at the close of every bar, from its start to its end.

        Parameters
        ----------
        run_id : str
        symbol : str, optional
            Only its fills of this one.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored of each symbol.
        starting_cash : Decimal or int, optional
            None: ``starting_cash`` (or ``cash``) of the run's config, else 0.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.equity.EQUITY`: time (UTC, the end of a bar), cash, position_value, equity and
            fees (Decimal(38, 18)), fills, orphan_fills, foreign_fees (counts so far), unmarked (symbols without a
            price); :func:`walle.fills.equity.equity` says how each is reckoned. Sorted by time. Where a bar is missing
            of a symbol that is held, position_value and equity are null. No row without fills or bars.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.
        InputError
            When its symbols are priced in several currencies, or for a starting cash that is no exact number.

        Examples
        --------
        >>> store.runs.equity("bt-sma-eth-001")["equity"][-1].normalize()
        Decimal('50702.035558')
        """
        return self._call(
            "equity", lambda core: core.equity(run_id, symbol=symbol, timeframe=timeframe, starting_cash=starting_cash)
        )

    def metrics(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        method: LotMethod = "fifo",
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
        returns: Returns = "day",
        periods: float | None = None,
        risk_free: float = 0.0,
    ) -> pl.DataFrame:
        """Reckon the usual figures of a run: return, risk, drawdown, trades, fees.

        Parameters
        ----------
        run_id : str
        symbol : str, optional
            Only its fills of this one.
        method : str
            How fills become trades: ``fifo``, ``lifo`` or ``average``.
        timeframe, starting_cash
            As for :meth:`equity`.
        returns : str
            What volatility, Sharpe and Sortino look at: ``day``, the change from the last bar of a day (UTC) to that of
            the next one with bars; or ``bar``.
        periods : float, optional
            How many of these returns a year has. None: as many as the calendars of the symbols have sessions (or bars)
            in a mean year: 365.25 for 24/7, about 252 for XNYS.
        risk_free : float
            A year's interest without risk, such as 0.04.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.runs.metrics.METRICS`: metric, value (Float64: ratios, days, counts), amount
            (Decimal(38, 18): money) and its currency, unit, periods_per_year (of what is annualised), reason (why it
            could not be measured; value and amount are null then). :func:`walle.runs.metrics.metrics` lists the figures
            with their sources. No row without fills.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.
        InputError
            As for :meth:`equity`; for another method or ``returns``, and ``periods`` that are not above 0.

        Examples
        --------
        >>> metrics = store.runs.metrics("bt-sma-eth-001")
        >>> round(metrics.filter(metric="total_return")["value"].item(), 4)
        0.014
        """
        return self._call(
            "metrics",
            lambda core: core.metrics(
                run_id,
                symbol=symbol,
                method=method,
                timeframe=timeframe,
                starting_cash=starting_cash,
                returns=returns,
                periods=periods,
                risk_free=risk_free,
            ),
        )
