// Which minutes of a tag are here whole, and why the others are not.
import { get, type Tag } from "./api";
import { clock, number, useFresh } from "./show";
import { known, t } from "./words";

const MOST = 6; // gaps shown, the newest first
interface Gap { from: number; to: number; minutes: number; cause: string }
interface Told { minutes: number; complete: number; gaps: Gap[] }

export function Complete({ device, tag, minutes }: { device: string; tag: Tag; minutes: number }) {
  const path = `/api/devices/${encodeURIComponent(device)}/complete?tag=${encodeURIComponent(tag.name)}&from=${-minutes * 60e9}`;
  const [told] = useFresh<Told>(() => get(path), () => false, [path]);
  if (!told) return <p id="complete" class="quiet">…</p>; // the place is kept: what comes late moves nothing from under a finger
  const gaps = told.gaps.filter((gap) => gap.cause !== "not_yet").reverse();
  return (
    <p id="complete" class={gaps.length ? "" : "quiet"}>
      {number(told.complete)} {t("wholeOf")} {number(told.minutes)} {t("wholeMinutes")}
      {gaps.slice(0, MOST).map((gap) => (
        <span key={gap.from} class="doubt"> · ▲ {clock(gap.from).slice(0, 5)}–{clock(gap.to).slice(0, 5)} {known(gap.cause)}</span>
      ))}
      {gaps.length > MOST ? " …" : ""}
    </p>
  );
}
