// A file that is taken in whole or not at all, with a line for each fault of it.
import { send } from "./api";
import { Dialog } from "./dialog";
import { placesOf } from "./signin";
import { t, type Word } from "./words";

/** `said` is what the plane answered; `kinds` are the endings that it takes. */
export function TakeIn<T>({ path, permission, kinds, file, where, at, close, done }: { path: string; permission: string; kinds: string[]; file: Word; where: Word; at: string; close: () => void; done: (said: T) => void }) {
  const tops = placesOf(permission);
  const act = async (said: FormData) => {
    const one = said.get("file") as File, ending = one.name.split(".").pop()?.toLowerCase() ?? "";
    done(await send<T>("POST", path, { place: String(said.get("place")).trim(), kind: ending === "yml" ? "yaml" : ending, name: one.name.slice(-100), body: await one.text() }));
  };
  return (
    <Dialog title={t("takeIn").replace(/ ?…$/, "")} word={t("takeInNow")} close={close} act={act}>
      <label class="whole">{t(file)} <input name="file" type="file" required accept={kinds.map((kind) => `.${kind}`).join(",")} /></label>
      <label class="whole">{t(where)} <input name="place" maxLength={200} list="file-places" required={!tops.includes("")} placeholder={t("wholePlane")} defaultValue={at || (tops.includes("") ? "" : tops[0])} /></label>
      <datalist id="file-places">{tops.filter(Boolean).map((one) => <option key={one} value={one} />)}</datalist>
    </Dialog>
  );
}
