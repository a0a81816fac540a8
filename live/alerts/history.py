"""What became of alerts, for those who look back: the newest messages, and how quick they were."""

from __future__ import annotations

from typing import Any

from live.alerts.store import Store


def newest(store: Store, n_messages: int) -> list[dict[str, Any]]:
    """Return the newest messages, the last first, each with what its channels say."""
    rows = store.all(
        "SELECT m.message_id, m.kind, m.severity, m.subject, m.made_us, m.remind_us IS NOT NULL, "
        "m.acknowledged_by, "
        "(SELECT count(*) FROM alerts a WHERE a.message_id = m.message_id) "
        "FROM messages m ORDER BY m.message_id DESC LIMIT ?",
        n_messages,
    )
    names = (
        "message_id",
        "kind",
        "severity",
        "subject",
        "made_us",
        "is_open",
        "acknowledged_by",
        "n_alerts",
    )
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for message in found:
        message["deliveries"] = store.all(
            "SELECT channel, attempts, delivered_us, failure FROM deliveries WHERE message_id = ? ORDER BY channel",
            message["message_id"],
        )
    return found


def latencies_us(store: Store, since_us: int = 0) -> list[int]:
    """Return how long alerts took that were not held back, from before their row was there to their delivery."""
    rows = store.all(
        "SELECT min(latency_us) FROM latencies WHERE held = 0 AND seen_us >= ? GROUP BY alert_id",
        since_us,
    )
    return [row[0] for row in rows]
