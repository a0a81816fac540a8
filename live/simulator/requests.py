"""What answers each signed request."""

from __future__ import annotations

from live.simulator import account_rules, algo_desk, desk, history, holdings, margins
from live.simulator.desk import Request

REQUESTS: dict[str, Request] = {
    "POST /fapi/v1/order": desk.place_order,
    "PUT /fapi/v1/order": desk.change_order,
    "GET /fapi/v1/order": desk.query_order,
    "DELETE /fapi/v1/order": desk.cancel_order,
    "POST /fapi/v1/order/test": desk.test_order,
    "POST /fapi/v1/batchOrders": desk.place_batch,
    "PUT /fapi/v1/batchOrders": desk.change_batch,
    "DELETE /fapi/v1/batchOrders": desk.cancel_batch,
    "GET /fapi/v1/openOrder": desk.query_open_order,
    "GET /fapi/v1/openOrders": history.open_orders,
    "DELETE /fapi/v1/allOpenOrders": desk.cancel_all,
    "GET /fapi/v1/allOrders": history.all_orders,
    "POST /fapi/v1/countdownCancelAll": desk.countdown,
    "POST /fapi/v1/algoOrder": algo_desk.place_algo,
    "GET /fapi/v1/algoOrder": algo_desk.query_algo,
    "DELETE /fapi/v1/algoOrder": algo_desk.cancel_algo,
    "GET /fapi/v1/openAlgoOrders": history.open_algos,
    "GET /fapi/v1/allAlgoOrders": history.all_algos,
    "DELETE /fapi/v1/algoOpenOrders": algo_desk.cancel_algos,
    "GET /fapi/v2/account": holdings.account_v2,
    "GET /fapi/v3/account": holdings.account_v3,
    "GET /fapi/v2/balance": holdings.balance,
    "GET /fapi/v3/balance": holdings.balance,
    "GET /fapi/v2/positionRisk": holdings.position_risk_v2,
    "GET /fapi/v3/positionRisk": holdings.position_risk_v3,
    "GET /fapi/v1/symbolConfig": account_rules.symbol_config,
    "GET /fapi/v1/accountConfig": account_rules.account_config,
    "GET /fapi/v1/leverageBracket": account_rules.leverage_bracket,
    "GET /fapi/v1/commissionRate": account_rules.commission_rate,
    "GET /fapi/v1/userTrades": history.user_trades,
    "GET /fapi/v1/income": history.income,
    "GET /fapi/v1/adlQuantile": holdings.adl_quantile,
    "GET /fapi/v1/forceOrders": history.force_orders,
    "GET /fapi/v1/rateLimit/order": account_rules.order_limits,
    "POST /fapi/v1/leverage": margins.set_leverage,
    "POST /fapi/v1/marginType": margins.set_margin_type,
    "POST /fapi/v1/positionMargin": margins.move_margin,
    "GET /fapi/v1/positionMargin/history": margins.margin_history,
    "GET /fapi/v1/positionSide/dual": margins.position_side,
    "POST /fapi/v1/positionSide/dual": margins.set_position_side,
    "GET /fapi/v1/multiAssetsMargin": margins.multi_assets,
    "POST /fapi/v1/multiAssetsMargin": margins.set_multi_assets,
    "GET /fapi/v1/feeBurn": margins.fee_burn,
    "POST /fapi/v1/feeBurn": margins.set_fee_burn,
}
"""Every signed request by method and path."""
