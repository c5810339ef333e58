"""Every data set of the catalogue in small: its annotation files in the published format, and the rows they mean.

PUBLISHED["sop"].files     # {"sop/Ebay_train.txt": "image_id class_id super_class_id path\\n1 1 1 bicycle_final/...
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

Row = tuple[str, str, str | list[str], str, str]  # image, source, label, domain, split/role


@dataclass(frozen=True)
class Published:
    """`files`: path below the data root -> content, None for an image."""

    files: Mapping[str, str | bytes | None]
    rows: list[Row] = field(default_factory=list)

    def write(self, data_root: Path) -> None:
        for name, content in self.files.items():
            path = data_root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                Image.new("RGB", (2, 2)).save(path, "JPEG")
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def matlab(**variables: object) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def structs(*records: dict[str, object]) -> np.ndarray:
    """A 1 x N struct array."""
    array = np.empty((1, len(records)), dtype=[(name, object) for name in records[0]])
    for i, record in enumerate(records):
        array[0, i] = tuple(record.values())
    return array


def cells(*texts: str) -> np.ndarray:
    array = np.empty((1, len(texts)), dtype=object)
    array[0, :] = texts
    return array


def coco(*images: tuple[str, list[int]], names: dict[int, str]) -> str:
    annotations = [(image_id, category) for image_id, (_, shown) in enumerate(images, 1) for category in shown]
    return json.dumps(
        {
            "info": {"year": 2018},
            "images": [{"id": i, "width": 8, "height": 6, "file_name": name} for i, (name, _) in enumerate(images, 1)],
            "categories": [{"id": number, "name": name} for number, name in names.items()],
            "annotations": [
                {"id": i, "image_id": image, "category_id": category, "bbox": [0, 0, 4, 4]}
                for i, (image, category) in enumerate(annotations, 1)
            ],
        }
    )


def info(*paths: tuple[str, int | list[int]]) -> str:
    return json.dumps([{"path": path, "class_id": label} for path, label in paths])


PUBLISHED: dict[str, Published] = {}


def _add(name: str, files: Mapping[str, str | bytes | None], *rows: Row) -> None:
    PUBLISHED[name] = Published(files, list(rows))


_add(
    "m4d-35k",
    {
        "m4d-35k_train.csv": lines(
            "img_path,label",
            "products-10k/train/17.jpg,0",
            "google_landmark_recognition_2021/train/0/1/2/0123456789abcdef.jpg,1",
            "deepfashion/train/TOPS/id_00000001/shop_01.jpg,2",
            "stanford_cars/cars_train/00001.jpg,3",
            "stanford_cars/cars_train/cars_train/00002.jpg,3",
        )
    },
    ("train/17.jpg", "products-10k", "0", "products", "train"),
    ("train/0/1/2/0123456789abcdef.jpg", "gldv2", "1", "landmarks", "train"),
    ("train/TOPS/id_00000001/shop_01.jpg", "deepfashion-c2s", "2", "fashion", "train"),
    ("cars_train/00001.jpg", "stanford-cars", "3", "cars", "train"),
    ("cars_train/00002.jpg", "stanford-cars", "3", "cars", "train"),
)
_add(
    "products-10k",
    {
        "products-10k/train.csv": lines("name,class,group", "0.jpg,0,0", "17.jpg,4,1"),
        "products-10k/test_kaggletest.csv": lines("name,class,Usage", "0.jpg,4,Public", "1.jpg,4,Private"),
    },
    ("train/0.jpg", "products-10k", "0", "products", "train"),
    ("train/17.jpg", "products-10k", "4", "products", "train"),
    ("test/0.jpg", "products-10k", "4", "products", "test/both"),
    ("test/1.jpg", "products-10k", "4", "products", "test/both"),
)
_landmark = ("train/0/1/2/0123456789abcdef.jpg", "gldv2", "142820", "landmarks", "train")
_add(
    "gldv2",
    {"gldv2/train_clean.csv": lines("landmark_id,images", "1,17660ef415d37059 92b6290d571448f6", "7,cd41bf948edc0340")},
    ("train/1/7/6/17660ef415d37059.jpg", "gldv2", "1", "landmarks", "train"),
    ("train/9/2/b/92b6290d571448f6.jpg", "gldv2", "1", "landmarks", "train"),
    ("train/c/d/4/cd41bf948edc0340.jpg", "gldv2", "7", "landmarks", "train"),
)
_add(
    "gldv2-full",
    {"gldv2/train.csv": lines("id,url,landmark_id", '0123456789abcdef,"http://upload/a,b.jpg",142820')},
    ("train/0/1/2/0123456789abcdef.jpg", "gldv2", "142820", "landmarks", "train"),
)
_c2s = "img/CLOTHING/Summer_Wear/id_000000"
_add(
    "consumer-to-shop",
    {
        "Consumer-to-shop Clothes Retrieval Benchmark/Eval/list_eval_partition.txt": lines(
            "4",
            "image_pair_name_1 image_pair_name_2 item_id evaluation_status",
            f"{_c2s}17/comsumer_01.jpg    {_c2s}17/shop_01.jpg    id_00000017 train",
            f"{_c2s}17/comsumer_02.jpg    {_c2s}17/shop_01.jpg    id_00000017 train",
            f"{_c2s}18/comsumer_01.jpg    {_c2s}18/shop_01.jpg    id_00000018 val",
            f"{_c2s}19/comsumer_01.jpg    {_c2s}19/shop_01.jpg    id_00000019 test",
        )
    },
    (f"{_c2s}17/comsumer_01.jpg", "consumer-to-shop", "id_00000017", "fashion", "train"),
    (f"{_c2s}17/comsumer_02.jpg", "consumer-to-shop", "id_00000017", "fashion", "train"),
    (f"{_c2s}17/shop_01.jpg", "consumer-to-shop", "id_00000017", "fashion", "train"),
    (f"{_c2s}18/comsumer_01.jpg", "consumer-to-shop", "id_00000018", "fashion", "val/query"),
    (f"{_c2s}18/shop_01.jpg", "consumer-to-shop", "id_00000018", "fashion", "val/index"),
    (f"{_c2s}19/comsumer_01.jpg", "consumer-to-shop", "id_00000019", "fashion", "test/query"),
    (f"{_c2s}19/shop_01.jpg", "consumer-to-shop", "id_00000019", "fashion", "test/index"),
)
_add(
    "deepfashion-c2s",
    {
        "deepfashion/deepfashion_train.json": json.dumps(
            {
                "TOPS": {"id_1": ["train/TOPS/id_1/a.jpg", "train/TOPS/id_1/b.jpg"]},
                "DRESSES": {"id_1": ["train/DRESSES/id_1/a.jpg"]},
            }
        )
    },
    ("train/TOPS/id_1/a.jpg", "deepfashion-c2s", "TOPS/id_1", "fashion", "train"),
    ("train/TOPS/id_1/b.jpg", "deepfashion-c2s", "TOPS/id_1", "fashion", "train"),
    ("train/DRESSES/id_1/a.jpg", "deepfashion-c2s", "DRESSES/id_1", "fashion", "train"),
)
_exhibits = [{"id": 7, "path": "MET/7/0.jpg"}, {"id": 9, "path": "MET/9/0.jpg"}]
_add(
    "met",
    {
        "met/ground_truth/MET_database.json": json.dumps(_exhibits),
        "met/ground_truth/mini_MET_database.json": json.dumps(_exhibits[:1]),
        "met/ground_truth/valset.json": json.dumps(
            [{"path": "test_met/1.jpg", "MET_id": 7}, {"path": "test_other/0.jpg"}]
        ),
        "met/ground_truth/testset.json": json.dumps(
            [{"path": "test_met/0.jpg", "MET_id": 9}, {"path": "test_noart/0.jpg"}]
        ),
    },
    ("MET/7/0.jpg", "met", "7", "artworks", "train"),
    ("MET/9/0.jpg", "met", "9", "artworks", "train"),
    ("test_met/1.jpg", "met", "7", "artworks", "val/query"),
    ("MET/7/0.jpg", "met", "7", "artworks", "val/index"),
    ("test_met/0.jpg", "met", "9", "artworks", "test/query"),
    ("MET/7/0.jpg", "met", "7", "artworks", "test/index"),
    ("MET/9/0.jpg", "met", "9", "artworks", "test/index"),
)
_add(
    "shopee",
    {
        "shopee/train.csv": lines(
            "posting_id,image,image_phash,title,label_group",
            'train_129225211,0000a68812bc7e98c42888dfb1c07da0.jpg,94974f937d4c2433,"Paper Bag, Victoria",249114794',
            "train_3386243561,00039780dfc94d01db8676fe789ecd05.jpg,af3f9460c2838f0f,Double Tape,2937985045",
        )
    },
    ("train_images/0000a68812bc7e98c42888dfb1c07da0.jpg", "shopee", "249114794", "products", "train"),
    ("train_images/00039780dfc94d01db8676fe789ecd05.jpg", "shopee", "2937985045", "products", "train"),
)
_add(
    "hm",
    {
        "hm_personalized_fashion/articles.csv": lines(
            "article_id,product_code,prod_name,detail_desc",
            '0108775015,0108775,Strap top,"Jersey top with ""narrow"" straps,\nlined"',
            "0108775044,0108775,Strap top,",
        )
    },
    ("images/010/0108775015.jpg", "hm", "0108775", "fashion", "train"),
    ("images/010/0108775044.jpg", "hm", "0108775", "fashion", "train"),
)
_add(
    "rp2k",
    {
        "rp2k/all/train/#U519c#U592b/1.jpg": None,
        "rp2k/all/train/康师傅/2.jpg": None,
        "rp2k/all/test/康师傅/3.jpg": None,
    },
    ("train/农夫/1.jpg", "rp2k", "农夫", "retail products", "train"),
    ("train/康师傅/2.jpg", "rp2k", "康师傅", "retail products", "train"),
    ("test/康师傅/3.jpg", "rp2k", "康师傅", "retail products", "test/both"),
)
_add(
    "rp2k-unifex",
    {"rp2k/train.csv": lines("img_path,img_id", "农夫/1.jpg,0")},
    ("train/农夫/1.jpg", "rp2k", "0", "retail products", "train"),
)
_sop = "image_id class_id super_class_id path"
_add(
    "sop",
    {
        "sop/Ebay_train.txt": lines(_sop, "1 1 1 bicycle_final/111085122871_0.JPG", "2 2 1 bicycle_final/2_0.JPG"),
        "sop/Ebay_test.txt": lines(_sop, "59552 11319 1 bicycle_final/251952414262_0.JPG"),
    },
    ("bicycle_final/111085122871_0.JPG", "sop", "1", "online products", "train"),
    ("bicycle_final/2_0.JPG", "sop", "2", "online products", "train"),
    ("bicycle_final/251952414262_0.JPG", "sop", "11319", "online products", "test/both"),
)
_add(
    "fashion-200k",
    {
        f"fashion200k/labels/{kind}_{split}_detect_all.txt": lines(
            f'women/{kind}/casual/{n}{number}/{n}{number}_0.jpeg\t-1.780000\t"black" {kind}, 5" long'
        )
        for number, split in ((1, "train"), (2, "test"))
        for n, kind in enumerate(("dress", "jacket", "pants", "skirt", "top"))
    },
    *(
        (f"women/{kind}/casual/{n}{number}/{n}{number}_0.jpeg", "fashion-200k", f"{n}{number}", "fashion", split)
        for number, split in ((1, "train"), (2, "test/both"))
        for n, kind in enumerate(("dress", "jacket", "pants", "skirt", "top"))
    ),
)
_add(
    "fashion-200k-unifex",
    {"fashion200k/fashion200k_train.csv": lines("img_path,img_id", "women/dresses/x/59/59_0.jpeg,59")},
    ("women/dresses/x/59/59_0.jpeg", "fashion-200k", "59", "fashion", "train"),
)
_add(
    "food-recognition-2022-images",
    {"fr22_train_v2/annotations.json": coco(("006316.jpg", [5, 9, 5]), ("7.jpg", [9]), names={5: "bread", 9: "tea"})},
    ("images/006316.jpg", "food-recognition-2022", "5", "food", "train"),
    ("images/006316.jpg", "food-recognition-2022", "9", "food", "train"),
    ("images/7.jpg", "food-recognition-2022", "9", "food", "train"),
)
_crops = lines("img_path,label", "preprocessed_imgs/5/006316.jpg,5", "preprocessed_imgs/5/006316.jpg,5")
_add(
    "food-recognition-2022",
    {"fr22_train_v2/train.csv": _crops},
    ("preprocessed_imgs/5/006316.jpg", "food-recognition-2022", "5", "food", "train"),
)
_box = {"bbox_x1": 39, "bbox_y1": 116, "bbox_x2": 569, "bbox_y2": 375}
_add(
    "stanford-cars",
    {
        "stanford_cars/devkit/cars_train_annos.mat": matlab(
            annotations=structs({**_box, "class": 14, "fname": "00001.jpg"}, {**_box, "class": 3, "fname": "00002.jpg"})
        ),
        "stanford_cars/cars_test_annos_withlabels.mat": matlab(
            annotations=structs({**_box, "class": 181, "fname": "00001.jpg"})
        ),
    },
    ("cars_train/00001.jpg", "stanford-cars", "14", "cars", "train"),
    ("cars_train/00002.jpg", "stanford-cars", "3", "cars", "train"),
    ("cars_test/00001.jpg", "stanford-cars", "181", "cars", "test/both"),
)
_add(
    "stanford-cars-unifex",
    {"stanford_cars/sc_train.csv": lines("image,Label", "00001.jpg,14")},
    ("cars_train/00001.jpg", "stanford-cars", "14", "cars", "train"),
)
_add(
    "stanford-cars-refined",
    {
        "stanford_cars/refined_train.csv": lines(
            "x1,y1,x2,y2,Class,image,Probability", "39,116,569,375,14_8,00001.jpg,0.9350605"
        )
    },
    ("cars_train/00001.jpg", "stanford-cars", "14_8", "cars", "train"),
)


def _clothes(source: str, pair: int, *styles: int) -> str:
    items = {f"item{n}": {"style": style, "category_name": "vest"} for n, style in enumerate(styles, 1)}
    return json.dumps({**items, "source": source, "pair_id": pair})


_add(
    "deepfashion2-images",
    {
        "deepfashion2/train/annos/000001.json": _clothes("user", 1, 1, 0, 2),
        "deepfashion2/train/annos/000002.json": _clothes("shop", 1, 0),
        "deepfashion2/validation/annos/000001.json": _clothes("user", 9, 1),
        "deepfashion2/validation/annos/000002.json": _clothes("shop", 9, 1, 1),
    },
    ("train/image/000001.jpg", "deepfashion2", "1_1", "fashion", "train"),
    ("train/image/000001.jpg", "deepfashion2", "1_2", "fashion", "train"),
    ("validation/image/000001.jpg", "deepfashion2", "9_1", "fashion", "test/query"),
    ("validation/image/000002.jpg", "deepfashion2", "9_1", "fashion", "test/index"),
)
_add(
    "deepfashion2",
    {"deepfashion2/train.csv": lines("img_path,label", "preprocessed_imgs/vest/1_1/000001.jpg,1_1")},
    ("preprocessed_imgs/vest/1_1/000001.jpg", "deepfashion2", "1_1", "fashion", "train"),
)
_food101 = {
    "food-101/meta/train.json": json.dumps({"churros": ["churros/1004234"], "tacos": ["tacos/7"]}),
    "food-101/meta/test.json": json.dumps({"churros": ["churros/1061830"]}),
}
_add(
    "food-101",
    _food101,
    ("images/churros/1004234.jpg", "food-101", "churros", "food", "train"),
    ("images/tacos/7.jpg", "food-101", "tacos", "food", "train"),
    ("images/churros/1061830.jpg", "food-101", "churros", "food", "test/both"),
)
_add(
    "furniture-180",
    {"furniture_180/furniture180_train.csv": lines("img_path,label", "air_condition/156501-14912605.jpg,0")},
    ("air_condition/156501-14912605.jpg", "furniture-180", "0", "furniture", "train"),
)
_add(
    "storefronts-146",
    {"storefronts_146/storefronts146_train.csv": lines("img_path,label", "7-Eleven/google_in_london_1.jpg,0")},
    ("7-Eleven/google_in_london_1.jpg", "storefronts-146", "0", "storefronts", "train"),
)
_add(
    "inshop",
    {
        "deepfashion/inshop/list_eval_partition.txt": lines(
            "3",
            "image_name item_id evaluation_status",
            "img/WOMEN/Dresses/id_00000002/02_1_front.jpg     id_00000002 train",
            "img/MEN/Denim/id_00000080/01_1_front.jpg         id_00000080 query",
            "img/MEN/Denim/id_00000080/01_2_side.jpg          id_00000080 gallery",
        )
    },
    ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "inshop", "id_00000002", "fashion", "train"),
    ("img/MEN/Denim/id_00000080/01_1_front.jpg", "inshop", "id_00000080", "fashion", "test/query"),
    ("img/MEN/Denim/id_00000080/01_2_side.jpg", "inshop", "id_00000080", "fashion", "test/index"),
)
_add(
    "cars196",
    {
        "cars/cars_annos.mat": matlab(
            annotations=structs(
                {"relative_im_path": "car_ims/000001.jpg", **_box, "class": 98, "test": 0},
                {"relative_im_path": "car_ims/016185.jpg", **_box, "class": 99, "test": 1},
            )
        )
    },
    ("car_ims/000001.jpg", "cars196", "98", "cars", "train"),
    ("car_ims/016185.jpg", "cars196", "99", "cars", "test/both"),
)
_add(
    "inaturalist-2018",
    {
        "inat/iNaturalist/train2018.json": coco(("train_val2018/Aves/2761/3a.jpg", [0]), names={0: "Aves a"}),
        "inat/iNaturalist/val2018.json": coco(("train_val2018/Aves/2761/4b.jpg", [0]), names={0: "Aves a"}),
    },
    ("train_val2018/Aves/2761/3a.jpg", "inaturalist-2018", "0", "natural world", "train"),
    ("train_val2018/Aves/2761/4b.jpg", "inaturalist-2018", "0", "natural world", "test/both"),
)
_add(
    "food2k",
    {
        "food2k/meta_data/train_finetune.txt": lines("0/1.jpg 0", "1999/7.jpg 1999"),
        "food2k/meta_data/val_finetune.txt": lines("0/2.jpg 0"),
        "food2k/meta_data/test_finetune.txt": lines("0/3.jpg 0"),
    },
    ("0/1.jpg", "food2k", "0", "food", "train"),
    ("1999/7.jpg", "food2k", "1999", "food", "train"),
    ("0/2.jpg", "food2k", "0", "food", "val/both"),
    ("0/3.jpg", "food2k", "0", "food", "test/both"),
)

_ALIKE = {  # UnED's domain -> folder of its info files, source, beginning of a path there, an image's id
    "food2k": ("food2k", "food2k", "food2k/Food2k_complete/", "1999/7.jpg"),
    "cars196": ("cars", "cars196", "cars/", "car_ims/000001.jpg"),
    "sop": ("sop", "sop", "sop/", "bicycle_final/2_0.JPG"),
    "inat": ("inat", "inaturalist-2018", "inat/iNaturalist/", "train_val2018/Aves/2761/3a.jpg"),
    "rp2k": ("rp2k", "rp2k", "rp2k/all/", "train/农夫/1.jpg"),
}
for _domain, (_folder, _source, _prefix, _image) in _ALIKE.items():
    _stem, _dot, _suffix = _image.rpartition(".")
    _add(
        f"uned-{_domain}",
        {
            f"info_files/{_folder}/{split}.json": info((f"{_prefix}{_stem}{extra}.{_suffix}", label))
            for label, (split, extra) in enumerate((("train", ""), ("val", "v"), ("test", "t")))
        },
        (_image, _source, "0", _domain, "train"),
        (f"{_stem}v.{_suffix}", _source, "1", _domain, "val/both"),
        (f"{_stem}t.{_suffix}", _source, "2", _domain, "test/both"),
    )
_dress = "deepfashion/inshop/img/WOMEN/Dresses/id_00000002/0"
_add(
    "uned-inshop",
    {
        f"info_files/inshop/{split}.json": info((f"{_dress}{n}_1_front.jpg", 10 * n))
        for n, split in enumerate(("train", "val", "test", "index"))
    },
    *(
        (f"img/WOMEN/Dresses/id_00000002/0{n}_1_front.jpg", "inshop", str(10 * n), "inshop", part)
        for n, part in enumerate(("train", "val/both", "test/query", "test/index"))
    ),
)
_add(
    "uned-met",
    {
        "info_files/met/train.json": info(("met/MET/7/0.jpg", 0), ("met/MET/9/0.jpg", 1)),
        "info_files/met/val.json": info(("met/test_met/0.jpg", 0)),
        "info_files/met/small_index.json": info(("met/MET/7/0.jpg", 0)),
        "info_files/met/test.json": info(("met/test_met/1.jpg", 1)),
        "info_files/met/index.json": info(("met/MET/7/0.jpg", 0), ("met/MET/9/0.jpg", 1)),
    },
    ("MET/7/0.jpg", "met", "0", "met", "train"),
    ("MET/9/0.jpg", "met", "1", "met", "train"),
    ("test_met/0.jpg", "met", "0", "met", "val/query"),
    ("MET/7/0.jpg", "met", "0", "met", "val/index"),
    ("test_met/1.jpg", "met", "1", "met", "test/query"),
    ("MET/7/0.jpg", "met", "0", "met", "test/index"),
    ("MET/9/0.jpg", "met", "1", "met", "test/index"),
)
_add(
    "uned-gldv2",
    {
        "info_files/gldv2/train.json": info(("gldv2/images/train/0/1/2/0123456789abcdef.jpg", 5)),
        "info_files/gldv2/val.json": info(("gldv2/images/train/9/2/b/92b6290d571448f6.jpg", 6)),
        "info_files/gldv2/test.json": info(
            ("gldv2/images/test/a/b/c/abc.jpg", [7, 8]), ("gldv2/images/test/d/e/f/def.jpg", 7)
        ),
        "info_files/gldv2/index.json": info(
            ("gldv2/images/index/1/2/3/123.jpg", 7), ("gldv2/images/index/4/5/6/456.jpg", 8)
        ),
    },
    ("train/0/1/2/0123456789abcdef.jpg", "gldv2", ["5"], "gldv2", "train"),
    ("train/9/2/b/92b6290d571448f6.jpg", "gldv2", ["6"], "gldv2", "val/both"),
    ("test/a/b/c/abc.jpg", "gldv2", ["7", "8"], "gldv2", "test/query"),
    ("test/d/e/f/def.jpg", "gldv2", ["7"], "gldv2", "test/query"),
    ("index/1/2/3/123.jpg", "gldv2", ["7"], "gldv2", "test/index"),
    ("index/4/5/6/456.jpg", "gldv2", ["8"], "gldv2", "test/index"),
)
_uned = [published for name, published in PUBLISHED.items() if name.startswith("uned-")]
_add(
    "uned",
    {name: content for each in _uned for name, content in each.files.items()},
    *(
        (image, source, label if isinstance(label, list) else [label], domain, part)
        for each in _uned
        for image, source, label, domain, part in each.rows
    ),
)
_add(
    "grocery-store",
    {
        f"GroceryStoreDataset/dataset/{split}.txt": lines(f"{split}/Fruit/Apple/Golden-Delicious/G_001.jpg, 0, 7")
        for split in ("train", "val", "test")
    },
    *(
        (f"{split}/Fruit/Apple/Golden-Delicious/G_001.jpg", "grocery-store", "0", "groceries", part)
        for split, part in (("train", "train"), ("val", "val/both"), ("test", "test/both"))
    ),
)
_add(
    "instre",
    {
        "instre/INSTRE-S1/01a_canada_book/013.jpg": None,
        "instre/INSTRE-S1/01a_canada_book/013.txt": "1 2 3 4",
        "instre/INSTRE-S2/01_book/001.jpg": None,
        "instre/INSTRE-M/01/107.jpg": None,
    },
    ("INSTRE-S1/01a_canada_book/013.jpg", "instre", "S1/01a_canada_book", "instances", "test/both"),
    ("INSTRE-S2/01_book/001.jpg", "instre", "S2/01_book", "instances", "test/both"),
    ("INSTRE-M/01/107.jpg", "instre", "M/01", "instances", "test/both"),
)
_add(
    "instre-queries",
    {
        "instre/gnd_instre.mat": matlab(
            qimlist=cells("INSTRE-S1/01a_canada_book/013.jpg"),
            imlist=cells("INSTRE-S1/01a_canada_book/062.jpg", "INSTRE-M/01/107.jpg"),
        )
    },
    ("INSTRE-S1/01a_canada_book/013.jpg", "instre", "S1/01a_canada_book", "instances", "test/query"),
    ("INSTRE-S1/01a_canada_book/062.jpg", "instre", "S1/01a_canada_book", "instances", "test/index"),
    ("INSTRE-M/01/107.jpg", "instre", "M/01", "instances", "test/index"),
)
_add(
    "gpr1200",
    {"GPR1200/images/0_3072730.jpg": None, "GPR1200/images/1199_n0144.jpg": None},
    ("0_3072730.jpg", "gpr1200", "0", "general", "test/both"),
    ("1199_n0144.jpg", "gpr1200", "1199", "general", "test/both"),
)
_add(
    "ilias",
    {
        "ilias/ilias_core/bold_bimp_000/query/Q000_00.jpg": None,
        "ilias/ilias_core/bold_bimp_000/query/Q000_00_bbox.txt": "1 2 3 4",
        "ilias/ilias_core/bold_bimp_000/query/T000.txt": "a bold bimp",
        "ilias/ilias_core/bold_bimp_000/pos/P000_08.jpg": None,
    },
    ("bold_bimp_000/query/Q000_00.jpg", "ilias", "bold_bimp_000", "instances", "test/query"),
    ("bold_bimp_000/pos/P000_08.jpg", "ilias", "bold_bimp_000", "instances", "test/index"),
)
