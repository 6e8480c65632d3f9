// A part that was judged: its pictures with what was found on them, and the verdict in words.
import { useEffect, useState } from "preact/hooks";
import { type Happening, listen } from "./api";
import { spoken } from "./sentences";
import { number } from "./show";
import { known, label, t } from "./words";

const VERDICTS = ["ng", "recheck", "ok"] as const;
export type Box = [number, number, number, number, string, number, string?, string?]; // ..., of which view, what it makes the part
export const boxes = (e: Happening): Box[] => (Array.isArray(e.data.boxes) ? e.data.boxes.filter((b: unknown): b is Box => Array.isArray(b)) : []);
/** The picture that a box lies in: of a part with several views each has its own. */
export const pictureOf = (e: Happening, b: Box): string | undefined => (b[6] === undefined ? e.refs[0] : e.data.pictures?.[b[6]]?.[3]);
export const verdict = (state: string): string => ((VERDICTS as readonly string[]).includes(state) ? t(state as (typeof VERDICTS)[number]) : known(state));

/** Who the part is, by the code that was read on it: empty where none was read for sure, undefined where its recipe reads none. */
export const codeOf = (e: Happening): string | undefined => (typeof e.data.code === "string" ? e.data.code : undefined);
/** Whether a person who writes this means it: its number, or a piece of its code. */
export const isCalled = (e: Happening, words: string): boolean => !words || String(e.data.part ?? "") === words || !!codeOf(e)?.toLowerCase().includes(words.toLowerCase());

export function Words({ event: e }: { event: Happening }) {
  return (
    <>
      <div class="verdict"><strong>{e.state === "ok" ? "✓" : e.state === "ng" ? "✕" : "?"} {verdict(e.state)}</strong>
        <span>{e.data.part === null || e.data.part === undefined ? "" : `${t("part")} ${e.data.part}`}</span></div>
      {codeOf(e) === undefined ? null : <p class="code">{codeOf(e) ? `${t("code")} ${codeOf(e)}` : t("noCode")}</p>}
      <p class="why">{why(e)}</p>
    </>
  );
}

/** The device's own words; where not all of them are known in Chinese, what can be said from its data. */
function why(e: Happening): string {
  const [said, all] = spoken(e.text);
  if (e.state === "ok") return said || t("sure");
  if (!all && e.data.label) return `${label(e.data.label)} · ${t("score")} ${number(e.data.score ?? null)}`;
  return said || label(e.data.label ?? "");
}

export function Picture({ event: e, digest, crowded }: { event: Happening; digest: string | undefined; crowded: boolean }) {
  const [turn, setTurn] = useState(0);
  const [size, setSize] = useState<[number, number] | null>(null);
  useEffect(() => {
    if (size) return;
    return listen((m) => { if (m.kind === "open" || (m.kind === "picture" && m.digest === digest)) setTurn((n) => n + 1); });
  }, [digest, size === null]);
  if (!digest) return <div class="picture"><span class="quiet">{t("noPicture")}</span></div>;
  return (
    <div class={`picture ${crowded ? "crowded" : ""}`}>
      <div class="frame" style={size ? { aspectRatio: `${size[0]} / ${size[1]}`, [size[0] * 3 > size[1] * 4 ? "width" : "height"]: "100%" } : {}}>
        <img src={`/api/pictures/${digest}?${new URLSearchParams({ device: e.device, epoch: e.epoch, seq: String(e.seq), turn: String(turn) })}`} alt={`${t("part")} ${e.data.part ?? ""}`} hidden={!size}
          onLoad={(l) => setSize([l.currentTarget.naturalWidth, l.currentTarget.naturalHeight])}
          onError={() => { if (turn < 5) window.setTimeout(() => setTurn((n) => n + 1), 3000); }} />
        {size ? boxes(e).filter((b) => pictureOf(e, b) === digest).map((b, i) => <Mark key={i} box={b} size={size} />) : null}
      </div>
      {size ? null : <span class="quiet">{t("pictureComing")}</span>}
    </div>
  );
}

/** A box on a picture with its label: above it where there is room, inside it otherwise. */
function Mark({ box: [x0, y0, x1, y1, name, score], size: [width, height] }: { box: Box; size: [number, number] }) {
  const part = (n: number, of: number) => `${(100 * n) / of}%`;
  const place = { left: part(x0, width), top: part(y0, height), width: part(x1 - x0, width), height: part(y1 - y0, height) };
  return (
    <span class={`mark ${y0 < 0.14 * height ? "inside" : ""} ${x0 > 0.55 * width ? "to-left" : ""}`} style={place}>
      <b>{label(name)} {score <= 1 ? `${Math.round(100 * score)} %` : number(score)}</b>
    </span>
  );
}
