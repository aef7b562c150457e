/** Whether questions are asked again: not while somebody paused, nor while nobody sees the page. */
import { computed, signal } from "@preact/signals";

export const paused = signal(false);
export const visible = signal(document.visibilityState === "visible");
export const live = computed(() => !paused.value && visible.value);

document.addEventListener("visibilitychange", () => {
  visible.value = document.visibilityState === "visible";
});
