/** A button that opens a small panel; Escape and a click elsewhere close it. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface Props {
  label: ComponentChildren;
  class?: string;
  children: (close: () => void) => ComponentChildren;
}

export function Menu({ label, class: name = "", children }: Props) {
  const details = useRef<HTMLDetailsElement>(null);
  const [open, setOpen] = useState(false);
  const close = () => {
    setOpen(false);
    details.current?.querySelector("summary")?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (!details.current?.contains(event.target as Node)) setOpen(false);
    };
    const press = (event: KeyboardEvent) => {
      if (event.key === "Escape") close();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    document.addEventListener("keydown", press);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
      document.removeEventListener("keydown", press);
    };
  }, [open]);
  return (
    <details class={`menu ${name}`} ref={details} open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{label}</summary>
      {open && <div class="panel">{children(close)}</div>}
    </details>
  );
}
