/** A choice of a few, each of which is an address. */
import { useNavigation } from "../state/location";

interface Props<T extends string> {
  label: string;
  name: string;
  values: readonly T[];
  current: T;
  text?: (value: T) => string;
}

export function Segments<T extends string>({ label, name, values, current, text = (value) => value }: Props<T>) {
  const { href } = useNavigation();
  return (
    <div class="segments" role="group" aria-label={label}>
      {values.map((value) => (
        <a key={value} href={href({ [name]: value })} aria-current={value === current ? "true" : undefined}>
          {text(value)}
        </a>
      ))}
    </div>
  );
}
