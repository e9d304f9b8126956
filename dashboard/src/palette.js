/** Colours and marks of variants. The colours are told apart with every kind of colour vision, and never stand alone. */

/* Okabe and Ito's, a little darker on light ground and lighter on dark. */
const light = ["#0067a3", "#c25200", "#00805e", "#a8487f", "#8a6d00", "#3d8fc4"];
const dark = ["#5cb8f0", "#f09a4a", "#3ccf9f", "#e39ac3", "#e5c558", "#9fd2f5"];
const grey = { light: "#5d6672", dark: "#a4adb9" };
export const marks = ["circle", "diamond", "square", "triangle"];

const query = window.matchMedia("(prefers-color-scheme: dark)");
export const isDark = () => query.matches;

export function onScheme(callback) {
  query.addEventListener("change", callback);
  return () => query.removeEventListener("change", callback);
}

/** Of the variants of an experiment, in its order: control is grey. */
export function variantStyles(variants) {
  const colours = isDark() ? dark : light;
  let next = 0;
  return new Map(variants.map((variant) => {
    const at = variant.is_control ? -1 : next++;
    return [variant.name, {
      colour: at < 0 ? (isDark() ? grey.dark : grey.light) : colours[at % colours.length],
      mark: at < 0 ? "bar" : marks[at % marks.length],
      dash: at < 0 ? [6, 4] : [[], [8, 3], [3, 3], [10, 3, 2, 3]][at % 4],
    }];
  }));
}
