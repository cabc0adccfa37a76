"""Campaigns: membership games by the thousand, over many models of a method, resumable, with honest statistics."""

from __future__ import annotations

from raysynth.campaigns.campaign import AttackCampaign
from raysynth.campaigns.plan import Plan, Trial
from raysynth.campaigns.results import CampaignResults, Game

__all__ = ["AttackCampaign", "CampaignResults", "Game", "Plan", "Trial"]
