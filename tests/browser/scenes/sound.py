"""Sounds: spectrograms play in AtomBrowser and InputLens; a microphone that is not there is said to be so."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
audio = sn.load_model("tiny-audio")
audio_sae, audio_examples = sn.load_sae("tiny-audio/resid_post.4"), sn.load_examples("tiny-audio/resid_post.4")
audio_catalogue = audio_examples.catalogue(audio_sae)
listener = sw.AtomBrowser(audio_sae, audio_examples.acts, catalogue=audio_catalogue,
                          atom=audio_examples.match("pitch A").atom)
listener""",
    "hearing = sw.InputLens(audio, audio_sae, examples=audio_examples)\nhearing",
)


def check_an_example_plays_and_stops(page: Page, stage: Any) -> None:
    """The button under a spectrogram becomes a stop button, and a start button again at the end."""
    panel = stage.panel("What makes this atom fire?")
    button = panel.get_by_role("button", name="Play clip").first
    button.click()
    panel.locator(".sae-nb-play", has_text="■").first.wait_for()
    stage("playing", panel)
    panel.locator(".sae-nb-play", has_text="■").first.wait_for(state="detached")


def check_a_lens_hears_and_says_what_it_cannot(page: Page, stage: Any) -> None:
    """Without a microphone the status line has the reason; a sound that is set is shown, by light and dark."""
    panel = stage.panel("Which atoms does this use?")
    panel.get_by_role("button", name="record").click()
    panel.locator(".sae-nb-statusline").get_by_text("upload a .wav file").first.wait_for()
    stage.run(
        "hearing.sound = (sn.data.sounds(1, seed=3).waveforms[0].repeat_interleave(2), 16_000)"
    )
    stage.until("'resampled from 16000 to 8000' in hearing.status")
    stage.says(panel, "resampled from 16000")
    for dark in stage.both():
        stage(f"lens-{'dark' if dark else 'light'}", panel)
    stage.width(panel, 420)
    assert page.evaluate("n => n.scrollWidth - n.clientWidth", panel.element_handle()) <= 0
    stage("lens-narrow", panel)
