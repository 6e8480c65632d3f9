// Is my line well?
import { useEffect, useState } from "preact/hooks";
import { type Alarm, type Device, get, listen } from "./api";
import { number, span, useFresh } from "./show";
import { t } from "./words";

interface Rate { samples: number; at: number; rate: number }

export function Overview({ failed }: { failed: (e: unknown) => void }) {
  const [devices] = useFresh<Device[]>(() => get("/api/devices"), (m) => m.kind === "events", [], failed);
  const [alarms] = useFresh<Alarm[]>(() => get("/api/alarms"), (m) => m.kind === "events", [], failed);
  const [live, setLive] = useState<Record<string, { heard: number; device: Partial<Device>; rate: Rate }>>({});
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    const stop = listen((m) => {
      if (m.kind !== "values" || !m.device || !m.status) return;
      const { device, status } = m;
      setLive((all) => {
        const before = all[device]?.rate, at = Date.now(), samples = status.samples ?? 0;
        const took = before ? (at - before.at) / 1000 : 0;
        const fresh = before && samples >= before.samples && took > 0 ? (samples - before.samples) / took : 0;
        const rate = { samples, at, rate: before ? 0.7 * before.rate + 0.3 * fresh : fresh };
        return { ...all, [device]: { heard: at, device: { status }, rate } };
      });
    });
    return () => { stop(); window.clearInterval(timer); };
  }, []);
  if (!devices || !alarms) return <p class="quiet">…</p>;
  const rows = devices.map((d) => {
    const fresh = live[d.id];
    const heard = Math.max(d.heard * 1000, fresh?.heard ?? 0);
    return { ...d, status: fresh?.device.status ?? d.status, heard, online: now - heard < 10_000, rate: fresh?.rate.rate };
  });
  const silent = rows.filter((d) => !d.online).length;
  const troubled = rows.filter((d) => d.online && unwell(d)).length;
  const standing = alarms.filter((a) => a.active || !a.acked).length;
  return (
    <>
      <Headline devices={rows.length} silent={silent} standing={standing} troubled={troubled} />
      <section class="cards" aria-label={t("devices")}>
        {rows.map((d) => <Card key={d.id} device={d} now={now} />)}
      </section>
    </>
  );
}

/** A part that does not run, or a journal that cannot write: no alarm says so, but the line is not well. */
const unwell = (d: Device) => Boolean(d.status.journal) || Object.values(d.status.parts ?? {}).some((p) => p.state === "waiting" || p.state === "stopped");

function Headline({ devices, silent, standing, troubled }: { devices: number; silent: number; standing: number; troubled: number }) {
  if (!devices) return <header class="headline"><h1>{t("none")}</h1><p>{t("noneSub")}</p></header>;
  if (!silent && !standing && !troubled) return <header class="headline well"><h1>{t("well")}</h1><p>{t("wellSub")}</p></header>;
  const said = [
    standing ? `${standing} ${t(standing === 1 ? "alarmStands" : "alarmsStand")}` : "",
    troubled ? `${troubled} ${t(troubled === 1 ? "deviceTroubled" : "devicesTroubled")}` : "",
    silent ? `${silent} ${t(silent === 1 ? "deviceSilent" : "devicesSilent")}` : "",
  ].filter(Boolean);
  return <header class="headline unwell" role="status"><h1>{said.join(" · ")}</h1>{standing ? <p><a href="#/alarms">{t("alarms")} →</a></p> : null}</header>;
}

function Card({ device: d, now }: { device: Device; now: number }) {
  const parts = Object.entries(d.status.parts ?? {});
  const behind = Math.max(0, (d.status.durable ?? 0) - (d.status.acknowledged ?? 0));
  return (
    <a class={`card ${d.online ? "" : "is-silent"}`} href={`#/device/${encodeURIComponent(d.id)}`}>
      <h2><span class={`dot ${d.online ? "on" : "off"}`} aria-hidden="true" />{d.id}</h2>
      <p class="quiet">{d.online ? t("online") : t("offline")} · {d.heard ? `${t("heard")} ${now - d.heard < 3000 ? t("now") : `${span(now - d.heard)} ${t("ago")}`}` : t("never")}</p>
      <dl>
        <div><dt>{t("samples")}</dt><dd>{d.rate === undefined ? "–" : Math.round(d.rate).toLocaleString()}</dd></div>
        <div><dt>{t("waiting")}</dt><dd>{d.status.durable === undefined ? "–" : number(behind)}</dd></div>
        <div class={d.alarms ? "bad" : ""}><dt>{t("alarms")}</dt><dd>{d.alarms}</dd></div>
        <div class={d.status.dropped ? "bad" : ""}><dt>{t("gaveUp")}</dt><dd>{number(d.status.dropped ?? 0)}</dd></div>
      </dl>
      <ul class="parts">
        {parts.map(([name, p]) => <li key={name} class={p.state === "running" ? "" : "bad"}>{p.state === "running" ? "●" : "▲"} {name}{p.reason ? `: ${p.reason}` : ""}</li>)}
      </ul>
    </a>
  );
}
