"""What a split promises."""

import unittest

from sharebill import receipt, split


class SplitTest(unittest.TestCase):
    def test_an_even_bill_is_split_evenly(self) -> None:
        self.assertEqual({"Ada": 500, "Ben": 500}, split(1000, {"Ada": 1, "Ben": 1}))

    def test_the_weights_count(self) -> None:
        self.assertEqual({"Ada": 750, "Ben": 250}, split(1000, {"Ada": 3, "Ben": 1}))

    def test_no_cent_is_lost(self) -> None:
        shares = split(1000, {"Ada": 1, "Ben": 1, "Cleo": 1})
        self.assertEqual(1000, sum(shares.values()))

    def test_nobody_pays_for_nothing(self) -> None:
        self.assertEqual({"Ada": 1000, "Ben": 0}, split(1000, {"Ada": 1, "Ben": 0}))

    def test_a_negative_bill_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            split(-1, {"Ada": 1})


class ReceiptTest(unittest.TestCase):
    def test_the_receipt_adds_up_to_the_bill(self) -> None:
        self.assertTrue(receipt(1000, {"Ada": 1, "Ben": 1, "Cleo": 1}).endswith("10.00"))


if __name__ == "__main__":
    unittest.main()
