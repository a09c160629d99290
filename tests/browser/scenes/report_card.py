"""ReportCard: a page that was written opens. CorpusPanel is held to the grammar."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
card_pictures = sn.data.scenes(24, seed=5, split="test")
card_acts = sn.capture(vit, card_pictures.images, "resid_post.6", progress=False)
card_random = sn.TopK(d_in=vit_sae.d_in, n_atoms=512, k=16, generator=torch.Generator().manual_seed(0))
card_saes = [vit_sae, card_random.eval()]
card_reports = [sn.evaluate(sae, card_acts, n_bootstrap=200) for sae in card_saes]""",
    """\
card = sw.ReportCard(card_reports, ["trained", "random"], saes=card_saes, acts=card_acts)
card""",
    """\
differ_stories = sn.data.stories(24, seed=0)
differ_docs = sn.uses.documents(
    gpt, gpt_sae, differ_stories.texts, gpt_sae.hook_point, labels=gpt_examples.labels, progress=False)
differ_sad = (differ_stories.sentiment == 0).numpy()
differ = sw.CorpusPanel(
    differ_docs.subset(differ_sad), differ_docs.subset(~differ_sad), ("sad", "glad"))
differ""",
)


def check_the_link_opens_what_was_written(page: Page, stage: Any) -> None:
    """In a tab of its own, wherever the file lies."""
    stage.run("import tempfile\ncard.export_folder = tempfile.mkdtemp()")
    panel = stage.panel("Can I trust this SAE?")
    stage.more(panel)
    panel.get_by_role("button", name="⤓ html").click()
    link = panel.locator(".sae-nb-written a[data-file]")
    link.wait_for()
    with page.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_load_state()
    assert opened.value.title() == stage.ask("card.headline")
    opened.value.close()
    stage.more(panel)
