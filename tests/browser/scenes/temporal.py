"""TemporalPanel: a click on a token shows its sources and atoms."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    "time_acts = sn.capture(gpt, list(sn.data.stories(40, seed=0).texts), 'resid_post.2', progress=False)\n"
    "time_sae = sn.Temporal(time_acts.d_in, 128, 8, bottleneck_factor=2, "
    "generator=torch.Generator().manual_seed(0))\n"
    "_ = sn.train(time_sae, time_acts, sn.TrainConfig(steps=30, batch_size=512), progress=False)",
    "in_time = sw.TemporalPanel(gpt, time_sae, 'Anna lived near the library with a small fox. One day "
    "the fox ran away and Anna wept.', second_text='Anna lived near the library with a small fox. One "
    "day the fox came back and Anna laughed.', boundaries=[12])\nin_time",
)


def check_a_click_on_a_token_shows_its_past_and_its_atoms(page: Page, stage: Any) -> None:
    """The clicked token is the trait's, its sources and atoms are listed, arcs are drawn."""
    panel = stage.panel()
    panel.get_by_text("Earlier tokens predict").wait_for()
    panel.locator(".sae-nb-token").nth(9).click()
    stage.settle()
    assert stage.ask("in_time.token") == 9
    listed = stage.ask("len(in_time._detail_view._atoms.labels)")
    assert 0 < listed <= 8
    drawn = stage.ask(
        "sum(t.x is not None and len(t.x) > 0 for t in in_time._plot.data if t.name.startswith('arc '))"
    )
    assert drawn == stage.ask("len(in_time.record.read_from(9))")
    assert panel.get_by_text("predicted from (share read)").is_visible()
    assert panel.locator(".sae-nb-barrow[data-atom]").count() == listed
    stage("token", panel)
