"""A made shop with every kind of key, for tests: composite, nullable, two to one parent, self-reference, chain."""

from __future__ import annotations

import numpy as np
import pandas as pd

RELATIONS = (
    "customers.referred_by -> customers.id, nullable",
    "orders.customer_id -> customers.id",
    "orders.billing_customer_id -> customers.id",
    "lines.order_id -> orders.order_id",
    "lines.product -> products.id",
    "deliveries.(region,week) -> weather.(region,week)",
)


def shop(seed: int = 0, customers: int = 300) -> dict[str, pd.DataFrame]:
    """Customers, orders, lines, products, and deliveries with the weather of their region and week.

    Whole numbers of small range ('stars', 'rank', 'quantity') lie within other tables' keys by chance.
    """
    rng = np.random.default_rng(seed)
    weeks = pd.DataFrame([(r, w) for r in ("north", "south", "west") for w in range(1, 27)], columns=["region", "week"])
    drawn = weeks.sample(400, replace=True, random_state=seed).reset_index(drop=True)
    numbers = np.arange(1, customers + 1)
    orders = 3 * customers
    return {
        "customers": pd.DataFrame(
            {
                "id": numbers,
                "age": rng.integers(18, 90, customers),
                "stars": rng.integers(1, 6, customers),
                "referred_by": np.where(rng.random(customers) < 0.5, np.nan, rng.permutation(numbers)),
            }
        ),
        "orders": pd.DataFrame(
            {
                "order_id": np.arange(1000, 1000 + orders),
                "customer_id": rng.integers(1, customers + 1, orders),
                "billing_customer_id": rng.integers(1, customers + 1, orders),
                "rank": rng.integers(1, 30, orders),
            }
        ),
        "lines": pd.DataFrame(
            {
                "order_id": rng.integers(1000, 1000 + orders, 2 * orders),
                "product": rng.integers(1, 31, 2 * orders),
                "quantity": rng.integers(1, 10, 2 * orders),
            }
        ),
        "products": pd.DataFrame({"id": np.arange(1, 31), "price": rng.integers(1, 900, 30), "rank": np.arange(1, 31)}),
        "weather": weeks.assign(rain=rng.normal(size=len(weeks))),
        "deliveries": drawn.assign(weight=rng.normal(size=400), km=rng.integers(1, 300, 400)),
    }
