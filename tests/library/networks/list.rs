//! The architectures that are compared with timm.

/// Architectures, and the kernels that a GPU launches for one image. Those of `large` take long or much memory:
/// `cargo test --release --test library networks::list::large -- --ignored` runs them.
macro_rules! architectures {
    (small { $($arch:ident $launches:literal,)* } large { $($large:ident $large_launches:literal,)* }) => {
        pub(super) const ARCHITECTURES: &[(&str, u64)] = &[
            $((stringify!($arch), $launches),)*
            $((stringify!($large), $large_launches)),*
        ];
        mod against_timm {
            $(#[test] fn $arch() { super::super::check(stringify!($arch)); })*
        }
        mod large {
            $(
                #[test]
                #[ignore = "large: cargo test --release --test library networks::list::large -- --ignored"]
                fn $large() { super::super::check(stringify!($large)); }
            )*
        }
    };
}

architectures! {
    small {
        legacy_senet154 625,
        legacy_seresnet18 113,
        legacy_seresnet34 209,
        legacy_seresnet50 214,
        legacy_seresnet101 418,
        legacy_seresnet152 622,
        legacy_seresnext26_32x4d 115,
        legacy_seresnext50_32x4d 211,
        legacy_seresnext101_32x4d 415,
        senet154 625,
        resnet50 147,
        resnext50_32x4d 147,
        resnetrs50 219,
        resnetrs101 423,
        seresnet20 112,
        seresnet32 178,
        seresnet33ts 166,
        seresnet50 211,
        seresnet152d 625,
        seresnext26d_32x4d 121,
        seresnext26t_32x4d 121,
        seresnext26ts 137,
        seresnext50_32x4d 211,
        seresnext101_32x4d 415,
        seresnext101_32x8d 415,
        seresnext101_64x4d 415,
        seresnext101d_32x8d 421,
        seresnextaa101d_32x8d 424,
        seresnextaa201d_32x8d 832,
        skresnet18 201,
        skresnet34 385,
        skresnext50_32x4d 371,
        // Without a checkpoint; the deeper ones differ from these only in the number of blocks.
        seresnet18 105,
        seresnet50t 217,
        seresnetaa50d 220,
        skresnet50 403,
        skresnet50d 409,
        // Written out in hosts.py.
        se_bn_inception 312,
        se_inception_v3 410,
        se_mobilenetv1 124,
        se_shufflenetv1_g3 196,
        // regnety
        regnety_002 201,
        regnety_004 243,
        regnety_006 229,
        regnety_008 215,
        regnety_008_tv 215,
        regnety_016 397,
        regnety_032 313,
        regnety_040 327,
        regnety_064 369,
        regnety_080 257,
        regnety_080_tv 257,
        regnety_120 285,
        // mobilenetv3
        mobilenetv3_large_100 144,
        mobilenetv3_large_150d 198,
        mobilenetv3_rw 143,
        mobilenetv3_small_050 127,
        mobilenetv3_small_075 126,
        mobilenetv3_small_100 126,
        tf_mobilenetv3_large_075 144,
        tf_mobilenetv3_large_100 144,
        tf_mobilenetv3_small_075 126,
        tf_mobilenetv3_small_100 126,
        // lcnet
        lcnet_050 62,
        lcnet_075 62,
        lcnet_100 62,
        // mnasnet
        mnasnet_small 152,
        semnasnet_075 144,
        semnasnet_100 144,
        // hardcorenas
        hardcorenas_a 119,
        hardcorenas_b 137,
        hardcorenas_c 149,
        hardcorenas_d 215,
        hardcorenas_e 203,
        hardcorenas_f 203,
        // efficientnet
        efficientnet_b0 192,
        efficientnet_b1 274,
        efficientnet_b1_pruned 274,
        efficientnet_b2 274,
        efficientnet_b2_pruned 274,
        efficientnet_b3 310,
        efficientnet_b3_pruned 310,
        efficientnet_b4 382,
        efficientnet_b5 464,
        tf_efficientnet_b0 192,
        tf_efficientnet_b1 274,
        tf_efficientnet_b2 274,
        tf_efficientnet_b3 310,
        tf_efficientnet_b4 382,
        tf_efficientnet_b5 464,
        tf_efficientnet_b6 536,
        tf_efficientnet_b7 654,
        // efficientnetv2
        efficientnetv2_rw_m 646,
        efficientnetv2_rw_s 424,
        efficientnetv2_rw_t 408,
        tf_efficientnetv2_b0 223,
        tf_efficientnetv2_b1 275,
        tf_efficientnetv2_b2 287,
        tf_efficientnetv2_b3 335,
        tf_efficientnetv2_l 835,
        tf_efficientnetv2_m 603,
        tf_efficientnetv2_s 420,
        // tinynet
        tinynet_a 228,
        tinynet_b 192,
        tinynet_c 180,
        tinynet_d 132,
        tinynet_e 120,
        // fbnetv3
        fbnetv3_b 285,
        fbnetv3_d 308,
        fbnetv3_g 354,
        // regnetz
        regnetz_040 396,
        regnetz_040_h 397,
        regnetz_b16 313,
        regnetz_c16 313,
        regnetz_d32 348,
        regnetz_d8 348,
        regnetz_e8 431,
        // regnetv
        regnetv_040 350,
        regnetv_064 395,
        // se-preresnet
        sepreresnet10 66,
        sepreresnet12 78,
        sepreresnet16 102,
        sepreresnet18 114,
        sepreresnet26 162,
        sepreresnetbc26b 124,
        sepreresnetbc38b 176,
        sepreresnet50b 228,
        sepreresnet20 121,
        sepreresnet56 337,
        sepreresnet110 661,
        sepreresnet164bn 717,
        sepreresnet272bn 1185,
        sepreresnet542bn 2355,
        // pytorchcv
        seresnet10 61,
        seresnet12 72,
        seresnet14 83,
        seresnet16 94,
        pytorchcv_seresnet18 105,
        seresnet26 149,
        seresnetbc26b 115,
        seresnetbc38b 163,
        pytorchcv_seresnet50 214,
        pytorchcv_seresnet101 418,
        pytorchcv_seresnet152 622,
        senet16 73,
        senet28 121,
        pytorchcv_seresnet20 112,
        seresnet56 310,
        seresnet110 607,
        seresnet164bn 663,
        seresnet272bn 1095,
        seresnet542bn 2175,
    } large {
        se_inception_resnet_v2 902,
        se_vgg16_bn 132,
        regnety_320 299,
        regnety_640 299,
        regnety_1280 397,
        tf_efficientnet_l2 1046,
        tf_efficientnetv2_xl 1075,
        tf_efficientnet_b8 726,
        regnety_160 271,
    }
}

/// Their tensors are compared with timm's in plan.rs; `RENAMED` says which networks pytorchcv's are.
pub(super) const NOT_RUN: [&str; 16] = [
    "pytorchcv_senet154",
    "pytorchcv_seresnet101b",
    "pytorchcv_seresnet50b",
    "pytorchcv_seresnext101_32x4d",
    "pytorchcv_seresnext101_64x4d",
    "pytorchcv_seresnext50_32x4d",
    "resnetrs152",
    "resnetrs200",
    "resnetrs270",
    "resnetrs350",
    "resnetrs420",
    "seresnet101",
    "seresnet152",
    "seresnet200d",
    "seresnet269d",
    "seresnet34",
];
