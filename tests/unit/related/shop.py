"""A made database with known dependences: customers, their orders in time, lines of orders, products, employees."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysynth.schema.relations import TableKeys

RELATIONS = [
    "orders.customer -> customers.id",
    "lines.order -> orders.id",
    "lines.product -> products.sku",
    "employees.boss -> employees.id, nullable",
    "orders.seller -> employees.id, nullable",
]
KEYS = (
    TableKeys("customers", ("id",)),
    TableKeys("orders", ("id",), order="day"),
    TableKeys("lines", ("order", "line")),
    TableKeys("products", ("sku",), reference=True),
    TableKeys("employees", ("id",)),
)


def shop(n_customers: int = 1500, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Tables by name.

    - The number of a customer's orders grows with its segment; its orders share a taste beyond the segment.
    - The number of an order's lines grows with its channel; the product follows the customer's taste.
    - The price of a line follows from its product's price; the quantity from the channel.
    """
    rng = np.random.default_rng(seed)
    segment = rng.choice(["home", "shop", "firm"], n_customers, p=[0.6, 0.3, 0.1])
    age = np.clip(rng.normal(np.select([segment == "home", segment == "shop"], [35, 45], 55), 8), 18, 90).round()
    taste = rng.normal(size=n_customers)
    joined = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n_customers), "D")
    customers = pd.DataFrame({"id": np.arange(1000, 1000 + n_customers), "segment": segment, "age": age})
    customers["joined"] = joined
    n_orders = rng.poisson(np.select([segment == "home", segment == "shop"], [1.0, 3.0], 9.0))
    of = np.repeat(np.arange(n_customers), n_orders)
    n = len(of)
    web = rng.random(n) < 1 / (1 + np.exp(-1.5 * taste[of]))
    orders = pd.DataFrame({"id": [f"O{i:07d}" for i in rng.permutation(n)], "customer": customers.id.to_numpy()[of]})
    orders["day"] = joined[of] + pd.to_timedelta(rng.integers(0, 400, n), "D")
    orders["channel"] = np.where(web, "web", "store")
    orders["weight"] = (np.exp(0.5 * taste[of] + 0.3 * rng.normal(size=n)) * 10).round(2)
    employees = _employees(60)
    staff = employees.id.to_numpy()
    seller = np.where(web, staff[rng.integers(0, 20, n)], staff[rng.integers(20, 60, n)])
    orders["seller"] = pd.array(np.where(rng.random(n) < 0.1, -1, seller), dtype="Int64")
    orders.loc[orders.seller == -1, "seller"] = pd.NA
    products = _products(300)
    orders["_taste"] = taste[of]
    tables = {"customers": customers, "orders": orders.drop(columns="_taste"), "lines": _lines(rng, orders, products)}
    return {**tables, "products": products, "employees": employees}


def _products(n: int) -> pd.DataFrame:
    """The same for all seeds, as are the employees."""
    rng = np.random.default_rng(1)
    products = pd.DataFrame({"sku": [f"P-{i:04d}" for i in range(n)], "group": rng.choice(["A", "B", "C"], n)})
    level = products.group.map({"A": 1, "B": 3, "C": 9})
    return products.assign(price=(np.exp(rng.normal(2, 0.5, n)) * level).round(2))


def _employees(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    ids = np.arange(1, n + 1)
    boss = np.where(ids <= 4, -1, rng.integers(1, np.maximum(ids // 4, 2)))
    pay = np.where(ids <= 4, 9000, np.where(ids <= 16, 6000, 3000)) + rng.integers(0, 500, n)
    boss = pd.array(boss, dtype="Int64")
    boss[boss == -1] = pd.NA
    return pd.DataFrame({"id": ids, "boss": boss, "pay": pay})


def _lines(rng: np.random.Generator, orders: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    n_lines = 1 + rng.poisson(np.where(orders.channel == "web", 2.5, 0.7))
    of = np.repeat(np.arange(len(orders)), n_lines)
    start = np.repeat(np.cumsum(n_lines) - n_lines, n_lines)
    wish = orders._taste.to_numpy()[of] + 0.4 * rng.normal(size=len(of))
    group = np.select([wish < -0.4, wish < 0.5], ["A", "B"], "C")
    chosen = np.empty(len(of), np.int64)
    for name in "ABC":
        chosen[group == name] = rng.choice(np.flatnonzero(products.group == name), int((group == name).sum()))
    lines = pd.DataFrame({"order": orders.id.to_numpy()[of], "line": np.arange(len(of)) - start + 1})
    lines["product"] = products["sku"].to_numpy()[chosen]
    lines["quantity"] = 1 + rng.poisson(np.where(orders.channel.to_numpy()[of] == "web", 0.5, 2.0))
    lines["paid"] = (products.price.to_numpy()[chosen] * lines.quantity * rng.uniform(0.8, 1.0, len(of))).round(2)
    return lines
