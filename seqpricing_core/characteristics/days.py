"""Characteristics from daily data, known at the end of the month; see `day_statistics` and `rolling`."""

from __future__ import annotations

import polars as pl

from seqpricing_core.characteristics.definition import Characteristic, Definition

_MARKET = "market's excess return (of all stocks, equal weights, where the source has no daily factors)"
_beta = pl.col("weekly_beta")

DAYS: tuple[Characteristic, ...] = tuple(
    Characteristic(acronym, name, paper, "monthly", Definition(formula, expression))
    for acronym, (name, formula, paper, expression) in {
        "beta": (
            "Beta", f"slope of weekly excess returns on the {_MARKET}, 36 months, at least 52 weeks",
            "Fama, MacBeth (1973)", _beta,
        ),
        "betasq": ("Beta squared", "beta^2", "Fama, MacBeth (1973)", _beta**2),
        "idiovol": (
            "Idiosyncratic return volatility", "standard deviation of the residuals of that regression",
            "Ali, Hwang, Trombley (2003)", pl.col("weekly_residual_deviation"),
        ),
        "pricedelay": (
            "Price delay",
            "1 - R2 of that regression / R2 with four lagged weeks of the market as well",
            "Hou, Moskowitz (2005)", pl.col("price_delay"),
        ),
        "beta_daily": (
            "Beta (daily, with one lag)",
            ("sum of the slopes of daily excess returns on the market's and the market's of the day before, "
            "12 months, at least 100 days"),
            "Lewellen, Nagel (2006)", pl.col("daily_beta"),
        ),
        "coskew": (
            "Coskewness",
            ("E[e d^2] / (sqrt(E[e^2]) E[d^2]), e the residual of daily excess returns on the market's, "
            "d the market's less its mean, 12 months, at least 100 days"),
            "Harvey, Siddique (2000)", pl.col("coskewness"),
        ),
        "rvar_capm": (
            "Residual variance (CAPM)",
            "residual variance of daily excess returns on the market's, 3 months, at least 20 days",
            "Ang et al. (2006)", pl.col("capm_residual_variance"),
        ),
        "rvar_ff3": (
            "Residual variance (three factors)",
            ("residual variance of daily excess returns on Fama and French's three factors, 3 months, at "
            "least 20 days"),
            "Ang et al. (2006)", pl.col("three_factor_residual_variance"),
        ),
        "svar": (
            "Return variance", "variance of daily returns, 3 months, at least 20 days",
            "Ang et al. (2006)", pl.col("return_variance"),
        ),
        "baspread": (
            "Bid-ask spread (high and low)", "mean of the month's daily (high - low) / ((high + low) / 2)",
            "Amihud, Mendelson (1989)", pl.col("high_low_spread"),
        ),
        "spread": (
            "Bid-ask spread (quotes)", "mean of the month's daily (ask - bid) / ((ask + bid) / 2)",
            "Chung, Zhang (2014)", pl.col("quoted_spread"),
        ),
        "stddolvol": (
            "Volatility of liquidity (dollar trading volume)",
            "standard deviation of the month's daily log dollar volume",
            "Chordia, Subrahmanyam, Anshuman (2001)", pl.col("dollar_volume_deviation"),
        ),
        "stdvol": (
            "Volatility of volume",
            "standard deviation of the month's daily volume, in shares as they were at the month's end",
            "Chordia, Subrahmanyam, Anshuman (2001)",
            pl.col("volume_deviation") / pl.col("unadjusted_price"),
        ),
    }.items()
)  # fmt: skip
