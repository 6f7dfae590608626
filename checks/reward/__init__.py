"""Reward logs: runs that optimize a reward or a preference (GRPO, PPO, DPO), whose loss does not measure progress."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.reward.rlh001_reward_collapse import RewardCollapse
    from diag.checks.reward.rlh002_kl_blow_up import KlBlowUp
    from diag.checks.reward.rlh003_reward_flat import RewardFlat
    from diag.checks.reward.rlh004_preference_margin import PreferenceMargin
    from diag.checks.reward.rlh005_policy_froze import PolicyFroze
    from diag.checks.reward.rlh006_policy_barely_moved import PolicyBarelyMoved

    return [RewardCollapse(), KlBlowUp(), RewardFlat(), PreferenceMargin(), PolicyFroze(), PolicyBarelyMoved()]
