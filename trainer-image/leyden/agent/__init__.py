"""Leyden's elastic agent: joins a round at the coordinator, runs this pod's ranks, and hands on what becomes of them.

The agent's own process never imports torch. Ranks are forked from a warm parent that has, see
:mod:`leyden.agent.ranks`.
"""
