// Small pieces that every page uses.
import { type RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { failed, type Live, listen, type Tag } from "./api";
import { language, quality, t } from "./words";

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");
export const clock = (ms: number) => new Date(ms).toLocaleTimeString(locale(), { hour12: false });
export const moment = (ms: number) => {
  const when = new Date(ms);
  return when.toDateString() === new Date().toDateString() ? clock(ms) : when.toLocaleString(locale(), { hour12: false });
};
export const day = (ms: number) => new Date(ms).toLocaleDateString(locale());
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
export const weekday = (day: string) => new Date(Date.UTC(2024, 0, 1 + DAYS.indexOf(day))).toLocaleDateString(locale(), { weekday: "short", timeZone: "UTC" });
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} ${t("seconds")}`;
  if (s < 3600) return `${Math.floor(s / 60)} ${t("minutes")}`;
  return `${Math.floor(s / 3600)} ${t("hours")}`;
}
export function number(value: number | null, labels?: Record<string, string>): string {
  if (value === null || !Number.isFinite(value)) return "–";
  const label = labels?.[String(value)];
  if (label) return label;
  const size = Math.abs(value);
  if (value && (size < 1e-6 || size >= 1e16)) return value.toExponential(4); // as a float in the wrong byte order
  if (Number.isInteger(value)) return value.toLocaleString(locale());
  return value.toLocaleString(locale(), { maximumSignificantDigits: Math.max(5, Math.floor(Math.log10(size)) + 2) }); // a meter's all
}

export const bytes = (n: number) => (n < 1000 ? `${n} B` : n < 1e6 ? `${(n / 1000).toLocaleString(locale(), { maximumFractionDigits: 1 })} kB` : `${(n / 1e6).toLocaleString(locale(), { maximumFractionDigits: 1 })} MB`);

/** A tag's value as people read it. The number of a string says nothing: until the string is here there is none. */
export function reading(tag: Tag): string {
  if (tag.type !== "text" || tag.value === null) return number(tag.value, tag.labels);
  return (tag.labels[tag.value] ?? "…") || t("emptyText");
}

/** Whether a device is heard, and how long not; `heard` is on the page's own clock, -Infinity for never. */
export function Heard({ on, heard, now }: { on: boolean; heard: number; now: number }) {
  const words = on ? t("online") : heard === -Infinity ? t("never") : `${t("offline")} ${span(now - heard)}`;
  return <p class={on ? "quiet" : "silent"}><span class={`dot ${on ? "on" : "off"}`} aria-hidden="true" />{words}</p>;
}

const MARK: Record<string, string> = { GOOD: "", CLOCK_UNSURE: "◷", LATE: "◷", SUBSTITUTED: "✎", RANGE: "⇕" };
export function Quality({ name }: { name: string }) {
  return <span class={`quality ${name === "GOOD" ? "is-good" : "is-not"}`}>{name === "GOOD" ? "" : (MARK[name] ?? "✕")} {quality(name)}</span>;
}

/** The page's own clock in ms, told anew every second. */
export function useNow(): number {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(performance.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  return now;
}

/** Loads on mount, when the live lane opens (again), on each of its messages that `when` picks (`wait` ms after it), and every minute; keeps the
 *  last answer while it loads. */
export function useFresh<T>(load: () => Promise<T>, when: (m: Live) => boolean, keys: unknown[], wait = 150): [T | null, () => void] {
  const [value, setValue] = useState<T | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let gone = false;
    load().then((v) => { if (!gone) setValue(v); }, failed);
    return () => { gone = true; };
  }, [turn, ...keys]);
  useEffect(() => {
    let timer: number | undefined;
    const soon = () => { if (timer === undefined) timer = window.setTimeout(() => { timer = undefined; setTurn((n) => n + 1); }, wait); };
    const stop = listen((m) => { if (m.kind === "open" || when(m)) soon(); });
    const minute = window.setInterval(soon, 60_000);
    return () => { stop(); window.clearInterval(minute); window.clearTimeout(timer); };
  }, keys);
  return [value, () => setTurn((n) => n + 1)];
}

/** What has the focus as soon as it is there, and only then. */
export function useFocus<E extends HTMLElement>(): RefObject<E> {
  const mine = useRef<E>(null);
  useEffect(() => mine.current?.focus(), []);
  return mine;
}

/** Whether a key belongs to what somebody writes or chooses in. */
export const writing = (e: KeyboardEvent) => ["INPUT", "SELECT", "TEXTAREA"].includes((e.target as HTMLElement).tagName);

export const severityOrder = ["critical", "high", "medium", "low", "info"];
