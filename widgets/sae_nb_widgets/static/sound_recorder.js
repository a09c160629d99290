// SoundRecorder: a button that records from the microphone; the browser decodes to the rate that is wanted.
const INSTEAD = "Choose an input, or upload a .wav file.";
const REFUSALS = {
  NotAllowedError: `The browser did not allow the microphone. Allow it for this page and press record again. ${INSTEAD}`,
  NotFoundError: `No microphone was found. ${INSTEAD}`,
  NotReadableError: `The microphone is in use by another program. ${INSTEAD}`,
  EncodingError: `The browser could not read its own recording. Press record again. ${INSTEAD}`,
};

function render({ model, el }) {
  const root = make("div", "sae-nb-component sae-nb-mic");
  const button = make("button", "sae-nb-mic-button", { type: "button" });
  const level = make("div", "sae-nb-bar", { "aria-hidden": "true" });
  const fill = make("div", "sae-nb-fill");
  const said = make("div", "sae-nb-said", { "aria-live": "polite" });
  level.append(fill);
  root.append(button, level, said);
  el.append(root);
  let under = null; // the recording under way: { recorder, stream, meter, began, timer }
  let asking = false;
  let gone = false;

  function paint() {
    const seconds = under ? (performance.now() - under.began) / 1000 : 0;
    button.textContent = under ? `■ stop · ${seconds.toFixed(1)} s` : asking ? "● waiting for the microphone" : "● record";
    button.title = under ? "Stop, and show it to the model" : `Record from the microphone, at most ${model.get("most_seconds")} s`;
    button.classList.toggle("sae-nb-hearing", Boolean(under));
    level.style.visibility = under ? "visible" : "hidden";
    if (!under) return;
    fill.style.width = `${100 * under.meter()}%`;
    requestAnimationFrame(paint);
  }

  function refuse(error) {
    const words = typeof error === "string" ? error : REFUSALS[error.name] || `Recording failed: ${error.message}. ${INSTEAD}`;
    said.textContent = words;
    model.set("refusal", "");
    model.set("refusal", words);
    model.save_changes();
  }

  // The loudest value of the last moment, 0 to 1 over 60 dB.
  function meterOf(stream) {
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(stream).connect(analyser);
    const values = new Float32Array(analyser.fftSize);
    const meter = () => {
      analyser.getFloatTimeDomainData(values);
      const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
      return Math.min(1, 1 + (20 * Math.log10(peak)) / 60);
    };
    return { meter, close: () => context.close() };
  }

  async function start() {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      return refuse(`Recording needs a secure page, https or localhost, and this page is not one. ${INSTEAD}`);
    }
    if (!window.MediaRecorder) return refuse(`This browser cannot record. ${INSTEAD}`);
    asking = true;
    paint();
    let stream = null;
    try {
      // The sound as it is: what makes speech clearer takes tones away.
      const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    } catch (error) {
      return refuse(error);
    } finally {
      asking = false;
      paint();
    }
    if (gone) return stream.getTracks().forEach((track) => track.stop());
    const recorder = new MediaRecorder(stream);
    const parts = [];
    const { meter, close } = meterOf(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      stream.getTracks().forEach((track) => track.stop());
      close();
      clearTimeout(under?.timer);
      under = null;
      paint();
      if (!gone) take(new Blob(parts, { type: recorder.mimeType })).catch(refuse);
    });
    recorder.start();
    const timer = setTimeout(stop, 1000 * model.get("most_seconds"));
    under = { recorder, meter, began: performance.now(), timer };
    said.textContent = "recording";
    paint();
  }

  const stop = () => under && under.recorder.state !== "inactive" && under.recorder.stop();

  async function decoded(file) {
    const data = await file.arrayBuffer();
    try {
      return await new OfflineAudioContext(1, 1, model.get("rate")).decodeAudioData(data.slice(0));
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      return new OfflineAudioContext(1, 1, 48_000).decodeAudioData(data); // a rate that browsers have not
    }
  }

  async function take(file) {
    const sound = await decoded(file);
    const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
    const samples = new Int16Array(sound.length);
    for (let i = 0; i < samples.length; i++) {
      const mean = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      samples[i] = Math.round(32_767 * clamp(mean, -1, 1));
    }
    if (!samples.some((value) => value)) return refuse(`The recording is silent. Look whether the microphone is muted. ${INSTEAD}`);
    said.textContent = `recorded, ${sound.duration.toFixed(1)} s`;
    model.set("recorded_rate", Math.round(sound.sampleRate));
    model.set("samples", new DataView(samples.buffer));
    model.save_changes();
  }

  button.addEventListener("click", () => (under ? stop() : asking || start()));
  redrawOn(model, ["most_seconds"], paint);
  paint();
  return () => {
    gone = true;
    stop();
  };
}
export default { initialize, render };
