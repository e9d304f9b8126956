/** Small pieces that all pages are made of. */
import { useEffect, useRef, useState } from "preact/hooks";

/** Something with a meaning to read: on hover, on focus, and for screen readers. */
export function Term({ tip, children, class: name = "" }) {
  return (
    <span class={`term ${name}`} tabIndex={0} data-tip={tip}>
      {children}
      <span class="sr">. {tip}</span>
    </span>
  );
}

/** A number in a table, with its meaning on hover; the column's heading says it to everyone else. */
export const Value = ({ tip, children }) => <span class="value" data-tip={tip}>{children}</span>;

export function Card({ title, tip, actions, children, class: name = "" }) {
  return (
    <section class={`card ${name}`}>
      {title && (
        <header class="card-head">
          <h2>{tip ? <Term tip={tip}>{title}</Term> : title}</h2>
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

export function Tile({ label, tip, value, note, tone }) {
  return (
    <div class={`tile ${tone ?? ""}`}>
      <dt><Term tip={tip}>{label}</Term></dt>
      <dd>{value}</dd>
      {note && <dd class="note">{note}</dd>}
    </div>
  );
}

const statusSigns = { draft: "○", running: "●", paused: "❙❙", completed: "✓", archived: "▫" };
const statusTips = {
  draft: "Not started: nobody is enrolled yet",
  running: "New users are enrolled",
  paused: "Nobody new is enrolled; whoever is in keeps their variant",
  completed: "Ended: nobody new is enrolled; events still count",
  archived: "Put away; nothing is lost",
};

export const Status = ({ status }) => (
  <span class={`badge status-${status}`} data-tip={statusTips[status]}>
    <i aria-hidden="true">{statusSigns[status]}</i> {status}
  </span>
);

const toneSigns = { good: "▲", bad: "▼", open: "≈", wait: "…", broken: "!" };
export const Verdict = ({ verdict }) => (
  <span class={`badge tone-${verdict.tone}`} data-tip={verdict.text}>
    <i aria-hidden="true">{toneSigns[verdict.tone]}</i> {verdict.label}
  </span>
);
export const toneSign = (tone) => toneSigns[tone];

export function Fault({ error }) {
  if (!error) return null;
  return (
    <div class="fault" role="alert">
      <strong>{error.status === 403 ? "This token may not do that." : "That did not work."}</strong> {error.message}
      {error.errors?.length > 0 && (
        <ul>
          {error.errors.map((one) => <li key={one.path + one.code}><code>{one.path || "query"}</code> {one.message}</li>)}
        </ul>
      )}
    </div>
  );
}

export const Empty = ({ title, children }) => (
  <div class="empty">
    <svg viewBox="0 0 64 40" aria-hidden="true"><path d="M4 12h26M14 28h36" /><circle cx="20" cy="12" r="5" /><circle cx="36" cy="28" r="5" /></svg>
    <h3>{title}</h3>
    <p>{children}</p>
  </div>
);

export const Loading = () => <div class="loading" role="status"><span class="sr">Loading</span></div>;

/** Shows what useResource() found. */
export function Loaded({ of, children }) {
  return (
    <>
      <Fault error={of.error} />
      {of.data !== null ? children(of.data) : of.error === null && <Loading />}
    </>
  );
}

let fieldCount = 0;

/** A labelled input; `children` is a function that gets the attributes to put on it. */
export function Field({ label, tip, hint, error, children, class: name = "" }) {
  const id = useRef(`field-${++fieldCount}`).current;
  const about = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  return (
    <div class={`field ${error ? "has-error" : ""} ${name}`}>
      <label for={id}>{tip ? <span data-tip={tip}>{label}</span> : label}</label>
      {children({ id, "aria-describedby": about, "aria-invalid": error ? "true" : undefined })}
      {hint && <small id={`${id}-hint`}>{hint}</small>}
      {error && <small class="error" id={`${id}-error`}>{error}</small>}
    </div>
  );
}

/** One of several, as a row of buttons. */
export function Choice({ label, options, value, onChange }) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([key, text]) => (
        <button type="button" key={key} aria-pressed={key === value} onClick={() => onChange(key)}>{text}</button>
      ))}
    </div>
  );
}

/** Runs something on the server at a click, once at a time, and shows what went wrong. */
export function useAction() {
  const [state, set] = useState({ busy: false, error: null });
  const run = async (work) => {
    set({ busy: true, error: null });
    try {
      const value = await work();
      set({ busy: false, error: null });
      return value;
    } catch (error) {
      set({ busy: false, error });
      return undefined;
    }
  };
  return { ...state, run, clear: () => set({ busy: false, error: null }) };
}

/** The width of an element, as it changes. */
export function useWidth() {
  const ref = useRef(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => set(Math.floor(entry.contentRect.width)));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** A question before something that cannot be taken back. */
export function Confirm({ title, children, action, danger, onDone }) {
  const ref = useRef(null);
  useEffect(() => ref.current.showModal(), []);
  return (
    <dialog ref={ref} onClose={() => onDone(ref.current.returnValue === "yes")} aria-label={title}>
      <form method="dialog">
        <h2>{title}</h2>
        <p>{children}</p>
        <div class="actions">
          <button value="no" class="button">Cancel</button>
          <button value="yes" class={`button ${danger ? "danger" : "primary"}`}>{action}</button>
        </div>
      </form>
    </dialog>
  );
}

/** One floating text for everything with data-tip. */
export function installTips() {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("aria-hidden", "true"); // screen readers have the text in place
  document.body.append(tip);
  const hide = () => tip.classList.remove("on");
  const show = (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (!target) return hide();
    tip.textContent = target.dataset.tip;
    tip.classList.add("on");
    const box = target.getBoundingClientRect();
    const left = Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 8));
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  };
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("hashchange", hide);
}
